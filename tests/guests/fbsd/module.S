/*
 * A module's shape: a relocatable object with text, data, bss, relocations
 * and symbols.  Its first word is what kernel.S prints.  MODULE is its name;
 * with NEEDS it needs the module of that name.
 */
#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)
#ifndef MODULE
#define MODULE first
#endif
#ifndef MINIMUM
#define MINIMUM 1
#endif
#define MDT_DEPEND 1
#define MDT_VERSION 3

	.text
	.globl mod_start
mod_start:
	.quad 0x31656c75646f6d
	.quad mod_data
	.data
mod_data:
	.quad 0x1122334455667788
mod_this:
	.long 1
	.balign 8
mod_version:
	.long 1, MDT_VERSION
	.quad mod_this, mod_name
	.section .rodata.str, "a"
mod_name: .asciz QUOTE(MODULE)
	.section set_modmetadata_set, "a"
	.quad mod_version
#ifdef NEEDS
	.data
mod_range:
	.long MINIMUM, MINIMUM, MINIMUM + 1
	.balign 8
mod_depend:
	.long 1, MDT_DEPEND
	.quad mod_range, mod_needs
	.section .rodata.str, "a"
mod_needs: .asciz QUOTE(NEEDS)
	.section set_modmetadata_set, "a"
	.quad mod_depend
#endif
	.bss
	.skip 4096
