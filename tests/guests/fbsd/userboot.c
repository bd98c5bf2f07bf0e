/*
 * A loader object as FreeBSD's userboot.so is one: no libc, a table of
 * callbacks.  It calls each callback, prints what came of it, and hands over
 * a guest; -e mode=WORD makes it do something else at the end.  With NEW its
 * table is the later one, with diskwrite and a struct stat.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

struct callbacks {
	int (*getc)(void *);
	void (*putc)(void *, int);
	int (*poll)(void *);
	int (*open)(void *, const char *, void **);
	int (*close)(void *, void *);
	int (*isdir)(void *, void *);
	int (*read)(void *, void *, void *, u64, u64 *);
	int (*readdir)(void *, void *, u32 *, u8 *, u64 *, char *);
	int (*seek)(void *, void *, u64, int);
#ifdef NEW
	int (*stat)(void *, void *, u8 *);
#else
	int (*stat)(void *, void *, int *, int *, int *, u64 *);
#endif
	int (*diskread)(void *, int, u64, void *, u64, u64 *);
#ifdef NEW
	int (*diskwrite)(void *, int, u64, void *, u64, u64 *);
#endif
	int (*copyin)(void *, const void *, u64, u64);
	int (*copyout)(void *, u64, void *, u64);
	void (*setreg)(void *, int, u64);
	void (*setmsr)(void *, int, u64);
	void (*setcr)(void *, int, u64);
	void (*setgdt)(void *, u64, u64);
	void (*exec)(void *, u64);
	void (*delay)(void *, int);
	void (*exit)(void *, int);
	void (*getmem)(void *, u64 *, u64 *);
	int (*diskioctl)(void *, int, u64, void *);
	char *(*getenv)(void *, int);
	int (*vm_set_register)(void *, int, int, u64);
	int (*vm_set_desc)(void *, int, int, u64, u32, u32);
	void (*swap_interpreter)(void *, const char *);
	void (*accept_interpreter)(void *);
};

extern void abort(void);
extern u64 time(u64 *);

#define BIG 700000
#define SECTOR_SIZE_CMD 0x40046480UL
#define MEDIA_SIZE_CMD 0x40086481UL
#define EFER 0xc0000080

static struct callbacks *cb;
static void *arg;
static const char *const labels[] = { "bad", "handed over" };
static u8 big[BIG], back[BIG], sector[1024];
static char name[1024], mode[32];

static void
puts_(const char *s)
{
	for (; *s != '\0'; s++)
		cb->putc(arg, *s);
}

static void
field(const char *label, u64 value)
{
	char text[17];
	int n = 16;

	text[n] = '\0';
	do {
		text[--n] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value != 0);
	puts_(label);
	puts_(" ");
	puts_(text + n);
	puts_("\n");
}

static int
is(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b)
		a++, b++;
	return (*a == *b);
}

static void
environment(void)
{
	char *row;

	for (int i = 0; (row = cb->getenv(arg, i)) != 0; i++) {
		puts_("env ");
		puts_(row);
		puts_("\n");
		if (row != cb->getenv(arg, i))
			puts_("BAD: a row has moved\n");
		if (row[0] == 'm' && row[1] == 'o' && row[4] == '=')
			for (int k = 0; k < 31; k++)
				if ((mode[k] = row[5 + k]) == '\0')
					break;
	}
}

static void
files(void)
{
	void *h;
	u64 resid = 99, len, size = 0;
	u32 inode, seen = 0;
	u8 type;

	field("open none", (u64)cb->open(arg, "/none", &h));
	field("open out", (u64)cb->open(arg, "/../../../../etc/passwd", &h));
	field("open link", (u64)cb->open(arg, "/out", &h));
	if (cb->open(arg, "/", &h) != 0)
		return;
	field("isdir", (u64)cb->isdir(arg, h));
	while (cb->readdir(arg, h, &inode, &type, &len, name) == 0) {
		puts_("name ");
		puts_(name);
		field(type == 4 ? " dir" : type == 8 ? " file" : " other", len);
		seen++;
	}
	field("seen", seen);
	field("read dir", (u64)cb->read(arg, h, big, 1, &resid));
	field("close", (u64)cb->close(arg, h));
	field("close again", (u64)cb->close(arg, h));
	field("open file", (u64)cb->open(arg, "/data", &h));
	field("isdir", (u64)cb->isdir(arg, h));
	field("read", (u64)cb->read(arg, h, big, BIG, &resid));
	field("resid", resid);
	len = 0;
	for (u64 i = 0; i < BIG - resid; i++)
		len += big[i];
	field("sum", len);
	field("seek", (u64)cb->seek(arg, h, 1, 0));
	cb->seek(arg, h, 1, 1);
	cb->read(arg, h, big, 2, &resid);
	field("at 2", big[0] | big[1] << 8);
	cb->seek(arg, h, (u64)-1, 2);
	cb->read(arg, h, big, 2, &resid);
	field("end resid", resid);
	field("seek bad", (u64)cb->seek(arg, h, (u64)-1, 0));
#ifdef NEW
	u8 st[224];

	field("stat", (u64)cb->stat(arg, h, st));
	size = *(u64 *)(st + 112);
	field("mode", *(u16 *)(st + 24));
	field("mtime", *(u64 *)(st + 64));
#else
	int st_mode = 0, uid = 0, gid = 0;

	field("stat", (u64)cb->stat(arg, h, &st_mode, &uid, &gid, &size));
	field("mode", (u64)st_mode);
#endif
	field("size", size);
	cb->close(arg, h);
}

static void
disks(int ndisks)
{
	u64 resid = 0, size = 0;
	u32 bytes = 0;

	field("disks", (u64)ndisks);
	if (ndisks == 0)
		return;
	field("ioctl", (u64)cb->diskioctl(arg, 0, SECTOR_SIZE_CMD, &bytes));
	cb->diskioctl(arg, 0, MEDIA_SIZE_CMD, &size);
	field("sector", bytes);
	field("media", size);
	field("ioctl bad", (u64)cb->diskioctl(arg, 0, 1, &size));
	field("ioctl none", (u64)cb->diskioctl(arg, 7, MEDIA_SIZE_CMD, &size));
	field("diskread", (u64)cb->diskread(arg, 0, 512, sector, 512, &resid));
	field("word", *(u64 *)sector);
	cb->diskread(arg, 0, size - 512, sector, 1024, &resid);
	field("over resid", resid);
	field("diskread none", (u64)cb->diskread(arg, 9, 0, sector, 1, &resid));
#ifdef NEW
	*(u64 *)sector = 0x1122334455667788;
	field("diskwrite", (u64)cb->diskwrite(arg, 0, 0, sector, 512, &resid));
	field("beyond", (u64)cb->diskwrite(arg, 0, size, sector, 512, &resid));
#endif
}

static void
memory(void)
{
	u64 low = 0, high = 0, differ = 0;

	cb->getmem(arg, &low, &high);
	field("low", low);
	field("high", high);
	for (u64 i = 0; i < BIG; i++)
		big[i] = (u8)(i * 7 + (i >> 8));
	field("copyin", (u64)cb->copyin(arg, big, 0xffffffff80200003UL, BIG));
	field("copyout", (u64)cb->copyout(arg, 0x200003, back, BIG));
	for (u64 i = 0; i < BIG; i++)
		differ += big[i] != back[i];
	field("differ", differ);
	field("copyin bad", (u64)cb->copyin(arg, big, low - 8, 16));
	field("copyout bad", (u64)cb->copyout(arg, low, back, 1));
}

static void
registers(int version)
{
	if (version >= 4) {
		/* R8, and IDTR; then what does not exist. */
		field("set", (u64)cb->vm_set_register(arg, 0, 7, 0x8888));
		field(
		    "desc", (u64)cb->vm_set_desc(arg, 0, 30, 0x7000, 0xfff, 0));
		field("set bad", (u64)cb->vm_set_register(arg, 0, 999, 1));
		field("set cpu", (u64)cb->vm_set_register(arg, 5, 7, 1));
		field("desc bad", (u64)cb->vm_set_desc(arg, 0, 19, 0, 0, 0));
	}
	cb->setmsr(arg, EFER, 0x500);
	cb->setcr(arg, 4, 0x2020);
	if (!is(mode, "i386"))
		cb->setcr(arg, 3, 0x2000);
	cb->setcr(arg, 0, 0x80000021);
	cb->setgdt(arg, 0x5000, 24);
	cb->setreg(arg, 4, 0x1000);
}

static void
odd(void)
{
	volatile u64 *wild = (u64 *)0x10;

	if (is(mode, "crash"))
		*wild = 1;
	if (is(mode, "abort"))
		abort();
	if (is(mode, "spin"))
		for (;;)
			__asm__ volatile("");
	if (is(mode, "setreg"))
		cb->setreg(arg, 3, 1);
	if (is(mode, "setmsr"))
		cb->setmsr(arg, 0x10, 1);
	if (is(mode, "setcr"))
		cb->setcr(arg, 8, 1);
	if (is(mode, "quit"))
		cb->exit(arg, 1);
	if (is(mode, "reboot"))
		cb->exit(arg, 2);
	if (is(mode, "zero"))
		cb->exit(arg, 0);
	if (is(mode, "swap"))
		cb->swap_interpreter(arg, "lua");
	if (is(mode, "key"))
		field("key", (u64)cb->getc(arg));
	if (is(mode, "open")) /* a file of the host, by a system call */
		__asm__ volatile("syscall" ::"a"(257L), "D"(-100L),
				 "S"("/etc/passwd"), "d"(0L)
				 : "rcx", "r11", "memory");
	if (is(mode, "mmap"))
		__asm__ volatile(
		    "syscall" ::"a"(9L), "D"(0L), "S"(4096L), "d"(3L)
		    : "rcx", "r11", "memory");
	if (is(mode, "fd")) /* a descriptor that is not the socket's */
		__asm__ volatile("syscall" ::"a"(0L), "D"(0L), "S"(big), "d"(1L)
				 : "rcx", "r11", "memory");
	if (is(mode, "junk")) /* a request that there is not */
		__asm__ volatile("syscall" ::"a"(1L), "D"(3L),
				 "S"("\377\377\377\377\377\377\377\377"
				     "................................"),
				 "d"(32L)
				 : "rcx", "r11", "memory");
}

void
loader_main(struct callbacks *callbacks, void *arg_, int version, int ndisks)
{
	cb = callbacks;
	arg = arg_;
#ifdef ONLY
	if (version != ONLY)
		abort();
#endif
	environment();
	field("version", (u64)version);
	field("late", time(0) > 1000000000);
	field("poll", (u64)cb->poll(arg));
	cb->delay(arg, 1000);
	odd();
	if (is(mode, "return"))
		return;
	files();
	disks(ndisks);
	memory();
	registers(version);
	if (version >= 6)
		cb->accept_interpreter(arg);
	puts_(labels[cb != 0]);
	puts_("\n");
	cb->exec(arg, 0x200000);
}
