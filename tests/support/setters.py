"""All that bhyvectl can set of a vCPU, as options and as what is then read."""

from bhyvectl_py import actions

#: What is set, by option.  A guest that jumps to itself in real mode keeps it.
REGISTERS = {
    "efer": 0x1,
    "cr0": 0x60000030,
    "cr2": 0x123456789ABCDEF0,
    "cr3": 0x5000,
    "cr4": 0x620,
    "dr0": 0x1111,
    "dr1": 0x2222,
    "dr2": 0x3333,
    "dr3": 0x4444,
    "dr6": 0xFFFF0FF1,
    "dr7": 0x400,
    "rsp": 0x8000,
    "rip": 0x1010,
    "rax": 0xFEDCBA9876543210,
    "rflags": 0x46,
}
SELECTORS = {name: 0x10 * (n + 1) for n, name in enumerate(actions.SELECTORS)}
SETTERS = (
    *(f"--set-{name}={value:#x}" for name, value in REGISTERS.items()),
    *("--desc-base=0", "--desc-limit=0xffff", "--desc-access=0x93"),
    *(f"--set-desc-{n}" for n in actions.DESCRIPTORS if n not in {"tr", "ldtr"}),
    *(f"--set-{name}={value}" for name, value in SELECTORS.items()),
    *("--set-x2apic-state=1", "--set-exception-bitmap=8", "--set-rtc-time=1000000000"),
    *("--rtc-nvram-offset=0x50", "--set-rtc-nvram=0xa5"),
)
SET_TR = ("--desc-base=0x7000", "--desc-limit=0x67", "--desc-access=0x8b")
SET_LDTR = ("--desc-base=0x6000", "--desc-limit=7", "--desc-access=0x82")
