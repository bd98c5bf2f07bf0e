/*
 * Functions of the ioctl table that live beside it (vmm_dev_vcpu.c).
 */
#ifndef _VMM_DEV_LOCAL_H_
#define _VMM_DEV_LOCAL_H_

#include "vmm_dev.h"

int ioc_run(struct vm *vm, void *arg);
int ioc_set_register(struct vm *vm, void *arg);
int ioc_get_register(struct vm *vm, void *arg);
int ioc_set_desc(struct vm *vm, void *arg);
int ioc_get_desc(struct vm *vm, void *arg);
int ioc_set_register_set(struct vm *vm, void *arg);
int ioc_get_register_set(struct vm *vm, void *arg);
int ioc_get_msr(struct vm *vm, void *arg);
int ioc_set_msr(struct vm *vm, void *arg);
int ioc_inject_exception(struct vm *vm, void *arg);
int ioc_set_capability(struct vm *vm, void *arg);
int ioc_set_debugregs(struct vm *vm, void *arg);
int ioc_get_tsc_offset(struct vm *vm, void *arg);
int ioc_get_capability(struct vm *vm, void *arg);
int ioc_set_x2apic(struct vm *vm, void *arg);
int ioc_get_x2apic(struct vm *vm, void *arg);
int ioc_gla2gpa(struct vm *vm, void *arg);
int ioc_gla2gpa_nofault(struct vm *vm, void *arg);
int ioc_get_paging(struct vm *vm, void *arg);
int ioc_activate_cpu(struct vm *vm, void *arg);
int ioc_set_intinfo(struct vm *vm, void *arg);
int ioc_get_intinfo(struct vm *vm, void *arg);
int ioc_restart(struct vm *vm, void *arg);
int ioc_set_kernemu(struct vm *vm, void *arg);
int ioc_get_kernemu(struct vm *vm, void *arg);
int ioc_reset_cpu(struct vm *vm, void *arg);
int ioc_get_run_state(struct vm *vm, void *arg);
int ioc_set_run_state(struct vm *vm, void *arg);

#endif
