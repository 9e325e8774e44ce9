/* The link of a simulated RISC-V board over semihosting: the host makes serial0, in the directory where the
 * simulator runs, a link to a pseudo-terminal. */
#ifdef MCT_LINK_SEMIHOSTING

#include "link.h"
#include "simulated.h"

enum { SYS_OPEN = 1, SYS_WRITE = 5, SYS_READ = 6, READ_WRITE = 2, LINK_LOST = 3 };

/* The sequence that marks a semihosting call must be uncompressed and within one page. */
static long semihost(long operation, const uintptr_t *arguments) {
    register long result __asm__("a0") = operation;
    register const uintptr_t *block __asm__("a1") = arguments;
    __asm__ volatile(".balign 16\n\t"
                     ".option push\n\t"
                     ".option norvc\n\t"
                     "slli zero, zero, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai zero, zero, 7\n\t"
                     ".option pop"
                     : "+r"(result)
                     : "r"(block)
                     : "memory");
    return result;
}

static long handle;

void mct_link_start(void) {
    static const char name[] = "serial0";
    const uintptr_t arguments[] = {(uintptr_t)name, READ_WRITE, sizeof name - 1};
    handle = semihost(SYS_OPEN, arguments);
    if (handle < 0)
        mct_finish(LINK_LOST);
}

/* Both calls return the number of bytes NOT transferred; a read of none is the end of the link. */
bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout) {
    (void)timeout;
    while (count) {
        const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)bytes, count};
        long left = semihost(SYS_READ, arguments);
        if (left < 0 || (uint32_t)left >= count)
            mct_finish(LINK_LOST);
        bytes += count - (uint32_t)left;
        count = (uint32_t)left;
    }
    return true;
}

void mct_link_write(const uint8_t *bytes, uint32_t count) {
    while (count) {
        const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)bytes, count};
        long left = semihost(SYS_WRITE, arguments);
        if (left < 0 || (uint32_t)left >= count)
            mct_finish(LINK_LOST);
        bytes += count - (uint32_t)left;
        count = (uint32_t)left;
    }
}

#else
typedef int mct_link_semihosting_unused; /* a translation unit may not be empty */
#endif
