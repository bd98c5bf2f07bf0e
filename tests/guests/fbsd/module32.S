/*
 * A module for i386: a shared object that has and needs modules, as in
 * module.S.
 */
#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)

	.text
	.globl mod_start
mod_start:
	.long 0x31656c75
	.data
mod_this:
	.long 1
mod_range:
	.long 7, 7, 7
mod_version:
	.long 1, 3, mod_this, mod_name
mod_depend:
	.long 1, 1, mod_range, mod_needs
mod_name: .asciz QUOTE(MODULE)
mod_needs: .asciz QUOTE(NEEDS)
	.section set_modmetadata_set, "aw"
	.long mod_version
	.long mod_depend
	.bss
	.skip 4096
