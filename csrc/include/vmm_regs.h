/*
 * Registers, segment descriptors and event words of a virtual CPU, numbered
 * as FreeBSD's vmm.h numbers them: the numbers are part of the ioctl ABI.
 */
#ifndef _VMM_REGS_H_
#define _VMM_REGS_H_

#include <stdint.h>

typedef uint64_t vm_paddr_t;

#define VM_MAXCPU 64
#define VM_MAX_NAMELEN 229 /* FreeBSD 13's effective length */

enum vm_reg_name {
	VM_REG_GUEST_RAX = 0,
	VM_REG_GUEST_RBX,
	VM_REG_GUEST_RCX,
	VM_REG_GUEST_RDX,
	VM_REG_GUEST_RSI,
	VM_REG_GUEST_RDI,
	VM_REG_GUEST_RBP,
	VM_REG_GUEST_R8,
	VM_REG_GUEST_R9,
	VM_REG_GUEST_R10,
	VM_REG_GUEST_R11,
	VM_REG_GUEST_R12,
	VM_REG_GUEST_R13,
	VM_REG_GUEST_R14,
	VM_REG_GUEST_R15,
	VM_REG_GUEST_CR0,
	VM_REG_GUEST_CR3,
	VM_REG_GUEST_CR4,
	VM_REG_GUEST_DR7,
	VM_REG_GUEST_RSP,
	VM_REG_GUEST_RIP,
	VM_REG_GUEST_RFLAGS,
	VM_REG_GUEST_ES,
	VM_REG_GUEST_CS,
	VM_REG_GUEST_SS,
	VM_REG_GUEST_DS,
	VM_REG_GUEST_FS,
	VM_REG_GUEST_GS,
	VM_REG_GUEST_LDTR,
	VM_REG_GUEST_TR,
	VM_REG_GUEST_IDTR,
	VM_REG_GUEST_GDTR,
	VM_REG_GUEST_EFER,
	VM_REG_GUEST_CR2,
	VM_REG_GUEST_PDPTE0,
	VM_REG_GUEST_PDPTE1,
	VM_REG_GUEST_PDPTE2,
	VM_REG_GUEST_PDPTE3,
	VM_REG_GUEST_INTR_SHADOW,
	VM_REG_GUEST_DR0,
	VM_REG_GUEST_DR1,
	VM_REG_GUEST_DR2,
	VM_REG_GUEST_DR3,
	VM_REG_GUEST_DR6,
	VM_REG_GUEST_ENTRY_INST_LENGTH,
	VM_REG_GUEST_FS_BASE,
	VM_REG_GUEST_GS_BASE,
	VM_REG_GUEST_KGS_BASE,
	VM_REG_GUEST_TPR,
	VM_REG_GUEST_XCR0, /* ours: no FreeBSD number exists */
	VM_REG_LAST
};

/* Access: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15. */
struct seg_desc {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity already applied */
	uint32_t access;
};

#define SEG_DESC_TYPE(a) ((a)&0x1f) /* type and S */
#define SEG_DESC_DPL(a) (((a) >> 5) & 0x3)
#define SEG_DESC_PRESENT(a) (((a)&0x0080) ? 1 : 0)
#define SEG_DESC_L(a) (((a)&0x2000) ? 1 : 0)
#define SEG_DESC_DEF32(a) (((a)&0x4000) ? 1 : 0)
#define SEG_DESC_GRANULARITY(a) (((a)&0x8000) ? 1 : 0)
#define SEG_DESC_UNUSABLE(a) (((a)&0x10000) ? 1 : 0)

/* An event being delivered; the error code stands in the high 32 bits. */
#define VM_INTINFO_VECTOR(info) ((info)&0xff)
#define VM_INTINFO_DEL_ERRCODE 0x800UL
#define VM_INTINFO_RSVD 0x7ffff000UL
#define VM_INTINFO_VALID 0x80000000UL
#define VM_INTINFO_TYPE 0x700UL
#define VM_INTINFO_HWINTR (0UL << 8)
#define VM_INTINFO_NMI (2UL << 8)
#define VM_INTINFO_HWEXCEPTION (3UL << 8)
#define VM_INTINFO_SWINTR (4UL << 8)

enum x2apic_state { X2APIC_DISABLED, X2APIC_ENABLED, X2APIC_STATE_LAST };

#endif
