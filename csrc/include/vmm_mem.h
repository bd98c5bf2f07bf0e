/*
 * Numbers of guest memory, as FreeBSD has them: segments, rights, flags, and
 * how a processor translates.
 */
#ifndef _VMM_MEM_H_
#define _VMM_MEM_H_

/* Segments. */
#define VM_SYSMEM 0
#define VM_BOOTROM 1
#define VM_FRAMEBUFFER 2

#define VM_PROT_READ 1
#define VM_PROT_WRITE 2
#define VM_PROT_EXEC 4
#define VM_PROT_ALL 7

/* Of a VM: its memory is in core dumps of this process, and stays in RAM. */
#define VM_MEM_F_INCORE 0x01
#define VM_MEM_F_WIRED 0x02

/* Of a mapping. */
#define VM_MEMMAP_F_WIRED 0x01
#define VM_MEMMAP_F_IOMMU 0x02

enum vm_cpu_mode {
	CPU_MODE_REAL,
	CPU_MODE_PROTECTED,
	CPU_MODE_COMPATIBILITY, /* long mode, CS.L 0 */
	CPU_MODE_64BIT
};

enum vm_paging_mode {
	PAGING_MODE_FLAT,
	PAGING_MODE_32,
	PAGING_MODE_PAE,
	PAGING_MODE_64,
	PAGING_MODE_64_LA57
};

#endif
