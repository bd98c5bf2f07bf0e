/*
 * Common ground of guests in C: multiboot entry into guest_main() in flat
 * 32-bit mode without paging, ports, PCI configuration of the device in
 * `slot`, its interrupts by the 8259s, the I/O APIC, MSI and MSI-X, two
 * vectors whose interrupts are counted.  A guest ends in HLT.
 */
#ifndef _VGUEST_H_
#define _VGUEST_H_

#include <stdint.h>

#define COM1 0x3f8
#define LAPIC 0xfee00000u
#define IOAPIC 0xfec00000u
#define LAPIC_EOI() (M32(LAPIC + 0xb0) = 0)
#define DEV (0x80000000u | slot << 11)
#define PIC_VECTOR 0x20
#define VECTORS 0x50

__asm__(".section .multiboot, \"a\"\n"
	".balign 4\n"
	".long 0x1badb002, 0, -0x1badb002\n"
	".text\n"
	".globl _start\n"
	"_start: movl $stack + 16384, %esp\n"
	"lgdt gdt_ptr\n"
	"ljmp $8, $1f\n"
	"1: movw $16, %ax\n"
	"movw %ax, %ds\n movw %ax, %es\n movw %ax, %ss\n"
	"call guest_main\n"
	"2: sti\n hlt\n jmp 2b\n"
	"isr41: lock incl ticks\n movl $0, 0xfee000b0\n iretl\n"
	"isr42: lock incl ticks + 4\n movl $0, 0xfee000b0\n iretl\n"
	".data\n"
	".balign 8\n"
	"gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"gdt_ptr: .word 23\n .long gdt\n"
	".text\n");

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

void guest_main(void);
extern void isr41(void), isr42(void);

uint8_t stack[16384];
volatile uint32_t ticks[2];
static uint64_t idt[VECTORS];
static uint32_t slot = 3;

static inline void
outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint8_t
inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return (v);
}
static inline void
outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline void
outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline uint32_t
inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return (v);
}
static inline uint16_t
inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return (v);
}

#define M8(a) (*(volatile uint8_t *)(uintptr_t)(a))
#define M16(a) (*(volatile uint16_t *)(uintptr_t)(a))
#define M32(a) (*(volatile uint32_t *)(uintptr_t)(a))

static inline void
say(const char *s)
{
	for (; *s != '\0'; s++)
		outb(COM1, (uint8_t)*s);
}

static inline void
check(int ok, const char *what)
{
	if (ok)
		return;
	say("FAIL ");
	say(what);
	say("\n");
	for (;;)
		__asm__ volatile("sti; hlt");
}

static inline uint32_t
cfg_read(uint32_t reg)
{
	outl(0xcf8, DEV | reg);
	return (inl(0xcfc));
}
static inline void
cfg_write(uint32_t reg, uint32_t v)
{
	outl(0xcf8, DEV | reg);
	outl(0xcfc, v);
}

static inline void
gate(int vec, void (*isr)(void))
{
	uint32_t a = (uint32_t)(uintptr_t)isr;

	idt[vec] = (a & 0xffff) | 8u << 16 | (uint64_t)0x8e00 << 32 |
	    (uint64_t)(a >> 16) << 48;
}

static inline void
msix_entry(uint32_t table, int n, uint32_t vec, uint32_t control)
{
	M32(table + 16u * n) = LAPIC;
	M32(table + 16u * n + 4) = 0;
	M32(table + 16u * n + 8) = vec;
	M32(table + 16u * n + 12) = control;
}

/* Where a capability is; 0: there is none. */
static inline uint32_t
cap_find(uint8_t id)
{
	uint32_t cap = cfg_read(0x34) & 0xff;

	while (cap != 0 && (cfg_read(cap) & 0xff) != id)
		cap = cfg_read(cap) >> 8 & 0xff;
	return (cap);
}

static inline void
msix_set(int on)
{
	uint32_t cap = cap_find(0x11);

	check(cap != 0, "MSI-X");
	cfg_write(cap, (cfg_read(cap) & 0x7fffffffu) | (uint32_t)on << 31);
}

static inline void
msix_on(void)
{
	msix_set(1);
}

/* 1 << log2 messages from `vector` on; returns the control register. */
static inline uint16_t
msi_set(int on, uint32_t vector, uint32_t log2)
{
	uint32_t cap = cap_find(5);

	check(cap != 0, "MSI");
	cfg_write(cap + 4, LAPIC);
	cfg_write(cap + 8, 0);
	cfg_write(cap + 12, vector);
	cfg_write(cap, (log2 << 4 | (uint32_t)on) << 16);
	return ((uint16_t)(cfg_read(cap) >> 16));
}

/* The pins of PCI devices: low, by level, all of one vector; 0: masked. */
static inline void
ioapic_set(uint32_t vector)
{
	for (uint32_t pin = 16; pin < 32; pin++) {
		M32(IOAPIC) = 0x11 + pin * 2;
		M32(IOAPIC + 0x10) = 0;
		M32(IOAPIC) = 0x10 + pin * 2;
		M32(IOAPIC + 0x10) = vector == 0 ? 0x10000 : 0xa000 | vector;
	}
}

/* The 8259s, from PIC_VECTOR on, with these lines open and the APIC's pin. */
static inline void
pic_set(uint16_t lines)
{
	static const uint8_t icw[2][4] = { { 0x11, PIC_VECTOR, 4, 1 },
		{ 0x11, PIC_VECTOR + 8, 2, 1 } };

	for (int i = 0; i < 2; i++) {
		uint16_t port = i == 0 ? 0x20 : 0xa0;

		outb(port, icw[i][0]);
		for (int word = 1; word < 4; word++)
			outb(port + 1, icw[i][word]);
	}
	if (lines >> 8 != 0)
		lines |= 4; /* the second chip */
	outb(0x21, (uint8_t)~lines);
	outb(0xa1, (uint8_t) ~(lines >> 8));
	M32(LAPIC + 0x350) = lines == 0 ? 0x10700 : 0x700;
}

/* The device in `slot` is this one, and decodes. */
static inline void
device(uint32_t identity)
{
	check(cfg_read(0) == identity, "the device in its slot");
	cfg_write(4, (cfg_read(4) & 0xffff) | 7);
}

/* Interrupts, the local APIC, and the device in slot 3. */
static inline void
start(uint32_t identity)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((__packed__))
	ptr = { sizeof(idt) - 1, (uint32_t)(uintptr_t)idt };

	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	gate(0x41, isr41);
	gate(0x42, isr42);
	__asm__ volatile("lidt %0" ::"m"(ptr));
	M32(LAPIC + 0xf0) = 0x1ff;
	device(identity);
}

#endif
