/* For tests/proofs/memory.py, by LD_PRELOAD.
 *
 * Refuses memory to one library, on demand: what Rust asks for does not go through Python's
 * allocator. And tells where a process dies, or is when its time is up. */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* Where the code of the library is; its allocations so far; which of them are refused. */
static uintptr_t begin, end;
static unsigned long asked, from = -1, to;

#define FOR_THE_LIBRARY ((uintptr_t)__builtin_return_address(0) - begin < end - begin)

static int
refused(int for_the_library)
{
    if (!for_the_library) {
        return 0;
    }
    unsigned long number = asked++;
    if (number < from || number >= to) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void *
malloc(size_t size)
{
    return refused(FOR_THE_LIBRARY) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t number, size_t size)
{
    return refused(FOR_THE_LIBRARY) ? NULL : __libc_calloc(number, size);
}

void *
realloc(void *old, size_t size)
{
    return refused(FOR_THE_LIBRARY) ? NULL : __libc_realloc(old, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return refused(FOR_THE_LIBRARY) ? NULL : __libc_memalign(alignment, size);
}

int
posix_memalign(void **out, size_t alignment, size_t size)
{
    if (refused(FOR_THE_LIBRARY)) {
        return ENOMEM;
    }
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : ENOMEM;
}

static int
look(struct dl_phdr_info *library, size_t size, void *name)
{
    (void)size;
    if (!strstr(library->dlpi_name, name)) {
        return 0;
    }
    for (int i = 0; i < library->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &library->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && header->p_flags & PF_X) {
            begin = library->dlpi_addr + header->p_vaddr;
            end = begin + header->p_memsz;
        }
    }
    return 1;
}

/* Refuse some of the allocations from now on of the library whose file's name has this in it.
 * Whether there is such a library. */
int
refuse(const char *library, unsigned long first, unsigned long after_last)
{
    from = -1;
    int found = dl_iterate_phdr(look, (void *)library);
    asked = 0;
    to = after_last;
    from = first;
    return found;
}

/* Refuse no more. How many allocations there have been. */
unsigned long
grant(void)
{
    from = -1;
    return asked;
}

/* How often it is looked where a process is that has used up its time, and how long it goes on in
 * between, in microseconds of a processor's time. */
#define LOOKS 30
#define BETWEEN 8000

/* How many seconds a process may do nothing. */
static unsigned patience;

/* Whether the process has worked since this was asked before: others may have the processor. */
static int
works(void)
{
    static clock_t before;
    clock_t now = clock();
    int worked = now - before > CLOCKS_PER_SEC / 100;
    before = now;
    return worked;
}

static void
tell(int number)
{
    static const char headline[] = "the machine's stack:\n";
    static int looks;
    void *frames[40];
    if (number == SIGALRM && works()) {
        alarm(patience);
        return;
    }
    ssize_t written = write(STDERR_FILENO, headline, sizeof headline - 1);
    (void)written;
    backtrace_symbols_fd(frames, backtrace(frames, 40), STDERR_FILENO);
    if (number == SIGVTALRM && ++looks < LOOKS) {
        /* Not before this is written: the next may come while this is handled. */
        setitimer(ITIMER_VIRTUAL, &(struct itimerval){.it_value = {.tv_usec = BETWEEN}}, NULL);
        return;
    }
    signal(number, SIG_DFL);
    raise(number);
}

/* Write the machine's stack to the standard error when one of these signals comes. It ends the
 * process; where its time is up, only when it has been looked at so often. It is up as well when it
 * has done nothing for so many seconds. */
void
watch(unsigned seconds)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGVTALRM};
    static char memory[1 << 16];
    stack_t own = {.ss_sp = memory, .ss_size = sizeof memory};
    struct sigaction action = {.sa_handler = tell, .sa_flags = SA_ONSTACK | SA_NODEFER};
    void *frames[1];

    patience = seconds;
    /* The first call allocates. */
    backtrace(frames, 1);
    sigaltstack(&own, NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaction(numbers[i], &action, NULL);
    }
}
