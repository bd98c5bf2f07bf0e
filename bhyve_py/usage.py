"""The usage text.  Clients search it: see tests/cli/test_bhyve_options.py."""

_SYNOPSIS = """\
Usage: {prog} [-aCDeHhMNPSuWwxY] [-B type,key=value[,key=value...]]
       {pad} [-c [[cpus=]N][,sockets=N][,cores=N][,threads=N]]
       {pad} [-f [name=]NAME,(string|file)=VALUE] [-G [w][address:]port]
       {pad} [-K layout] [-k file] [-l lpc-device] [-m size[K|M|G|T]]
       {pad} [-n id=N,size=SIZE,cpus=CPUS[,domain_policy=POLICY]]
       {pad} [-o variable=value] [-p vcpu:hostcpu] [-r file] [-s pci-device]
       {pad} [-U uuid] vmname
"""

_OPTIONS = """\
       -a: local APICs are xAPICs (the default; deprecated)
       -B: strings of an SMBIOS table, as illumos has them
       -C: core files hold the guest's memory
       -c: number of CPUs and/or topology specification
       -D: destroy the VM when the guest powers off
       -e: end the VM at an access to an I/O port that nobody claims
       -f: add an item to the fw_cfg device
       -G: start a debug server for gdb; w waits for it before the guest runs
       -H: leave the guest when it halts
       -h: show this text
       -K: keyboard layout of the screen
       -k: read variables from a file, one var=value a line
       -l: device of the LPC bus; "-l help" lists them
       -M: monitor mode
       -m: memory size; a number below 1048576 counts as megabytes
       -N: with -M, do not start the guest again after a reset
       -n: NUMA domain specification
       -o: set a configuration variable
       -P: leave the guest when it executes PAUSE
       -p: pin a vCPU to a host CPU, or a range to a range
       -r: resume from a checkpoint file
       -S: wire the guest's memory
       -s: device of the PCI bus, [bus:]slot[:function],model[,options];
           "-s help" lists the models
       -U: UUID of the system
       -u: RTC keeps UTC time
       -W: virtio devices use MSI in place of MSI-X
       -w: ignore accesses to MSRs that are not there
       -x: local APICs can be x2APICs
       -Y: no MP table
"""


def usage(prog: str) -> str:
    """Return the usage text for a tool called `prog`."""
    return _SYNOPSIS.format(prog=prog, pad=" " * len(prog)) + _OPTIONS
