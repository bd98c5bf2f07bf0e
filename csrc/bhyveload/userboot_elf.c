/*
 * Maps a loader object: an ELF shared object for amd64 that needs no other.
 * The file is hostile until it runs: each offset, size and index is checked
 * against the file or the mapping before it is used.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "userboot_local.h"

#define MAX_SPAN (512UL << 20) /* of addresses: FreeBSD's heap is in .bss */
#define MAX_PHDRS 64
#define MAX_DYNAMIC 512
#define MAX_SYMBOLS (1U << 20)
#define PAGE 4096UL
#define ENTRY "loader_main"

/* Tables of the dynamic section, as offsets into the mapping. */
struct tables {
	uint64_t symtab, strtab, strsz, hash, gnu_hash;
	uint64_t rela, relasz, jmprel, pltrelsz;
	uint32_t nsyms;
};

struct object {
	const uint8_t *image;
	size_t size;
	const Elf64_Phdr *phdr;
	int phnum;
	uint8_t *base;
	uint64_t span;
	struct tables t;
};

static bool
inside(uint64_t at, uint64_t len, uint64_t end)
{
	return (at <= end && len <= end - at);
}

/* Copies out of the mapping; false: it reaches past its end. */
static bool
peek(const struct object *o, uint64_t at, void *to, size_t len)
{
	if (!inside(at, len, o->span))
		return (false);
	memcpy(to, o->base + at, len);
	return (true);
}

static void
check_header(struct object *o, Elf64_Ehdr *eh)
{
	if (o->size < sizeof(*eh))
		ub_fail("not a shared object: only %zu bytes", o->size);
	memcpy(eh, o->image, sizeof(*eh));
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
		ub_fail("not an ELF file");
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_ident[EI_DATA] != ELFDATA2LSB || eh->e_machine != EM_X86_64)
		ub_fail(
		    "not an object for amd64 (ELF machine %d)", eh->e_machine);
	if (eh->e_type != ET_DYN)
		ub_fail("not a shared object (ELF type %d)", eh->e_type);
	if (eh->e_phnum == 0 || eh->e_phnum > MAX_PHDRS ||
	    eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phoff % 8 != 0 ||
	    !inside(eh->e_phoff, (uint64_t)eh->e_phnum * sizeof(Elf64_Phdr),
		o->size))
		ub_fail("damaged: %d program headers of %d bytes at %#lx",
		    eh->e_phnum, eh->e_phentsize, (unsigned long)eh->e_phoff);
}

static void
check_segment(struct object *o, const Elf64_Phdr *ph, int i)
{
	if (ph->p_filesz > ph->p_memsz ||
	    !inside(ph->p_offset, ph->p_filesz, o->size))
		ub_fail("truncated or damaged: segment %d has %#lx bytes at "
			"%#lx of a file of %#zx",
		    i, (unsigned long)ph->p_filesz, (unsigned long)ph->p_offset,
		    o->size);
	if (!inside(ph->p_vaddr, ph->p_memsz, MAX_SPAN))
		ub_fail("segment %d at %#lx needs %#lx bytes of memory; the "
			"most is %#lx",
		    i, (unsigned long)ph->p_vaddr, (unsigned long)ph->p_memsz,
		    MAX_SPAN);
	if (ph->p_vaddr + ph->p_memsz > o->span)
		o->span = ph->p_vaddr + ph->p_memsz;
}

static void
map_segments(struct object *o)
{
	int i;

	for (i = 0; i < o->phnum; i++)
		if (o->phdr[i].p_type == PT_LOAD)
			check_segment(o, &o->phdr[i], i);
	if (o->span == 0)
		ub_fail("damaged: nothing to load");
	o->span = (o->span + PAGE - 1) & ~(PAGE - 1);
	o->base = mmap(NULL, o->span, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (o->base == MAP_FAILED)
		ub_fail("no memory for %#lx bytes", (unsigned long)o->span);
	for (i = 0; i < o->phnum; i++)
		if (o->phdr[i].p_type == PT_LOAD)
			memcpy(o->base + o->phdr[i].p_vaddr,
			    o->image + o->phdr[i].p_offset,
			    o->phdr[i].p_filesz);
}

/* Count the symbols of a GNU hash table: the last chain's end. */
static uint32_t
count_gnu(const struct object *o, uint64_t at)
{
	uint32_t head[4], index = 0, last = 0, word = 0;
	uint64_t buckets, chains;

	if (!peek(o, at, head, sizeof(head)))
		return (0);
	buckets = at + 16 + (uint64_t)head[2] * 8;
	chains = buckets + (uint64_t)head[0] * 4;
	if (!inside(buckets, (uint64_t)head[0] * 4, o->span))
		return (0);
	for (uint32_t i = 0; i < head[0]; i++) {
		(void)peek(o, buckets + (uint64_t)i * 4, &index, 4);
		if (index > last)
			last = index;
	}
	if (last < head[1])
		return (head[1] <= MAX_SYMBOLS ? head[1] : 0);
	for (;; last++) {
		if (last > MAX_SYMBOLS ||
		    !peek(o, chains + (uint64_t)(last - head[1]) * 4, &word, 4))
			return (0);
		if ((word & 1) != 0)
			return (last + 1);
	}
}

static void
check_tables(struct object *o)
{
	struct tables *t = &o->t;
	uint32_t head[2] = { 0, 0 };

	if (t->hash != 0 && peek(o, t->hash, head, sizeof(head)))
		t->nsyms = head[1];
	else if (t->gnu_hash != 0)
		t->nsyms = count_gnu(o, t->gnu_hash);
	if (t->nsyms == 0 || t->nsyms > MAX_SYMBOLS ||
	    !inside(
		t->symtab, (uint64_t)t->nsyms * sizeof(Elf64_Sym), o->span) ||
	    t->strsz == 0 || !inside(t->strtab, t->strsz, o->span))
		ub_fail("damaged: no sound table of symbols");
	/* Every name ends within the table. */
	if (o->base[t->strtab + t->strsz - 1] != '\0')
		ub_fail("damaged: the table of names has no end");
	if (!inside(t->rela, t->relasz, o->span) ||
	    !inside(t->jmprel, t->pltrelsz, o->span))
		ub_fail("damaged: a table of relocations lies outside");
}

static const char *
name_at(const struct object *o, uint64_t offset)
{
	if (offset >= o->t.strsz)
		ub_fail("damaged: a name lies outside its table");
	return ((const char *)o->base + o->t.strtab + offset);
}

static void
read_dynamic(struct object *o)
{
	const Elf64_Phdr *ph = NULL;
	uint64_t needed = UINT64_MAX;
	struct tables *t = &o->t;
	Elf64_Dyn d;
	int i;

	for (i = 0; i < o->phnum; i++)
		if (o->phdr[i].p_type == PT_DYNAMIC)
			ph = &o->phdr[i];
	if (ph == NULL)
		ub_fail("damaged: no dynamic section");
	for (i = 0; i < MAX_DYNAMIC; i++) {
		if (!peek(o, ph->p_vaddr + (uint64_t)i * sizeof(d), &d,
			sizeof(d)))
			ub_fail("damaged: the dynamic section has no end");
		switch (d.d_tag) {
		case DT_NULL:
			check_tables(o);
			if (needed != UINT64_MAX)
				ub_fail("it needs the library %.64s",
				    name_at(o, needed));
			return;
		case DT_SYMTAB:
			t->symtab = d.d_un.d_ptr;
			break;
		case DT_STRTAB:
			t->strtab = d.d_un.d_ptr;
			break;
		case DT_STRSZ:
			t->strsz = d.d_un.d_val;
			break;
		case DT_HASH:
			t->hash = d.d_un.d_ptr;
			break;
		case DT_GNU_HASH:
			t->gnu_hash = d.d_un.d_ptr;
			break;
		case DT_RELA:
			t->rela = d.d_un.d_ptr;
			break;
		case DT_RELASZ:
			t->relasz = d.d_un.d_val;
			break;
		case DT_JMPREL:
			t->jmprel = d.d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			t->pltrelsz = d.d_un.d_val;
			break;
		case DT_NEEDED:
			needed = d.d_un.d_val;
			break;
		case DT_REL:
			ub_fail("relocations of a kind that amd64 has not");
		default:
			break;
		}
	}
	ub_fail("damaged: the dynamic section has no end");
}

static Elf64_Sym
symbol(const struct object *o, uint32_t index)
{
	Elf64_Sym sym;

	if (index >= o->t.nsyms)
		ub_fail("damaged: symbol %u of %u", index, o->t.nsyms);
	memcpy(&sym, o->base + o->t.symtab + index * sizeof(sym), sizeof(sym));
	return (sym);
}

/* The address of a symbol: the object's own, or the host's by name. */
static uint64_t
resolve(const struct object *o, uint32_t index)
{
	Elf64_Sym sym = symbol(o, index);
	const char *name;
	void *host;

	if (index == 0)
		return (0);
	if (sym.st_shndx != SHN_UNDEF)
		return ((uint64_t)(uintptr_t)o->base + sym.st_value);
	name = name_at(o, sym.st_name);
	host = ub_host_symbol(name);
	if (host == NULL && ELF64_ST_BIND(sym.st_info) != STB_WEAK)
		ub_fail("it needs %.64s, which this host does not offer", name);
	return ((uint64_t)(uintptr_t)host);
}

static void
relocate(struct object *o, uint64_t table, uint64_t size)
{
	Elf64_Rela r;
	uint64_t value;

	for (uint64_t at = 0; size - at >= sizeof(r); at += sizeof(r)) {
		memcpy(&r, o->base + table + at, sizeof(r));
		if (!inside(r.r_offset, sizeof(value), o->span))
			ub_fail("damaged: a relocation at %#lx, outside",
			    (unsigned long)r.r_offset);
		switch (ELF64_R_TYPE(r.r_info)) {
		case R_X86_64_NONE:
			continue;
		case R_X86_64_RELATIVE:
			value =
			    (uint64_t)(uintptr_t)o->base + (uint64_t)r.r_addend;
			break;
		case R_X86_64_64:
			value = resolve(o, ELF64_R_SYM(r.r_info)) +
			    (uint64_t)r.r_addend;
			break;
		case R_X86_64_GLOB_DAT:
		case R_X86_64_JUMP_SLOT:
			value = resolve(o, ELF64_R_SYM(r.r_info));
			break;
		default:
			ub_fail("a relocation of type %lu is not known",
			    (unsigned long)ELF64_R_TYPE(r.r_info));
		}
		memcpy(o->base + r.r_offset, &value, sizeof(value));
	}
}

/* Give each page what the segments on it ask for together. */
static void
protect(const struct object *o)
{
	const Elf64_Phdr *ph;
	uint64_t page, end;
	int prot;

	for (page = 0; page < o->span; page = end) {
		prot = PROT_NONE;
		end = o->span;
		for (int i = 0; i < o->phnum; i++) {
			uint64_t first, last;

			ph = &o->phdr[i];
			if (ph->p_type != PT_LOAD || ph->p_memsz == 0)
				continue;
			first = ph->p_vaddr & ~(PAGE - 1);
			last = (ph->p_vaddr + ph->p_memsz + PAGE - 1) &
			    ~(PAGE - 1);
			if (first > page && first < end)
				end = first;
			if (last > page && last < end)
				end = last;
			if (page < first || page >= last)
				continue;
			prot |= (ph->p_flags & PF_R) != 0 ? PROT_READ : 0;
			prot |= (ph->p_flags & PF_W) != 0 ? PROT_WRITE : 0;
			prot |= (ph->p_flags & PF_X) != 0 ? PROT_EXEC : 0;
		}
		if (mprotect(o->base + page, end - page, prot) != 0)
			ub_fail("cannot protect its memory: errno %d", errno);
	}
}

static void *
find_entry(const struct object *o)
{
	for (uint32_t i = 1; i < o->t.nsyms; i++) {
		Elf64_Sym sym = symbol(o, i);

		if (sym.st_shndx == SHN_UNDEF ||
		    strcmp(name_at(o, sym.st_name), ENTRY) != 0)
			continue;
		if (sym.st_value >= o->span)
			ub_fail("damaged: %s lies outside", ENTRY);
		return (o->base + sym.st_value);
	}
	ub_fail("no loader: it has no function %s", ENTRY);
}

void *
ub_map(const uint8_t *image, size_t size)
{
	struct object o = { .image = image, .size = size };
	Elf64_Phdr phdr[MAX_PHDRS];
	Elf64_Ehdr eh;
	void *entry;

	check_header(&o, &eh);
	o.phnum = eh.e_phnum;
	memcpy(phdr, image + eh.e_phoff, eh.e_phnum * sizeof(phdr[0]));
	o.phdr = phdr;
	map_segments(&o);
	read_dynamic(&o);
	entry = find_entry(&o);
	relocate(&o, o.t.rela, o.t.relasz);
	relocate(&o, o.t.jmprel, o.t.pltrelsz);
	protect(&o);
	return (entry);
}
