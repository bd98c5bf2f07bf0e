"""Variables of bhyve_config(5) whose values can be checked before the start."""

#: Those that are true or false; a word that is neither ends the start.
BOOLEANS = (
    "acpi_tables",
    "acpi_tables_in_memory",
    "destroy_on_poweroff",
    "e820.debug",
    "gdb.wait",
    "lpc.pc-testdev",
    "memory.guest_in_core",
    "memory.wired",
    "monitor.enabled",
    "monitor.no_reboot",
    "pci.enable_bars",
    "rtc.use_localtime",
    "virtio.ioeventfd",
    "virtio.modern",
    "virtio.msix",
    "virtio.packed",
    "vmm.soft.translate",
    "x86.mptable",
    "x86.strictio",
    "x86.strictmsr",
    "x86.verbosemsr",
    "x86.vmexit_on_hlt",
    "x86.vmexit_on_pause",
    "x86.x2apic",
)
