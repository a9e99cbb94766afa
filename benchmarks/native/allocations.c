/* Counts the calls of the C library's allocator, for LD_PRELOAD. */
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static unsigned long count;

unsigned long
allocations(void)
{
    return count;
}

void *
malloc(size_t size)
{
    count++;
    return __libc_malloc(size);
}

void *
calloc(size_t number, size_t size)
{
    count++;
    return __libc_calloc(number, size);
}

void *
realloc(void *old, size_t size)
{
    count++;
    return __libc_realloc(old, size);
}

int
posix_memalign(void **out, size_t alignment, size_t size)
{
    count++;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : 12; /* ENOMEM */
}
