/* Numbers of the versioned state classes (illumos' VM_DATA_READ/WRITE). */
#ifndef _VMM_CLASS_H_
#define _VMM_CLASS_H_

#define VDC_VERSION 1
#define VDC_REGISTER 2
#define VDC_MSR 3
#define VDC_FPU 4
#define VDC_LAPIC 5
#define VDC_VMM_ARCH 6
#define VDC_IOAPIC 7
#define VDC_ATPIT 8
#define VDC_ATPIC 9
#define VDC_HPET 10
#define VDC_PM_TIMER 11
#define VDC_RTC 12
#define VDC_VMM_TIME 13

#endif
