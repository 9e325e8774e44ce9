/* The link of a simulated RISC-V board over semihosting: the host makes serial0, in the directory where the
 * simulator runs, a link to a pseudo-terminal. */
#ifdef MCT_LINK_SEMIHOSTING

#include "link.h"
#include "semihosting.h"
#include "simulated.h"

enum { LINK_LOST = 3 };

static long handle;

void mct_link_start(void) {
    static const char name[] = "serial0";
    const uintptr_t arguments[] = {(uintptr_t)name, READ_WRITE, sizeof name - 1};
    handle = mct_semihost(SYS_OPEN, arguments);
    if (handle < 0)
        mct_finish(LINK_LOST);
}

/* Both calls return the number of bytes NOT transferred; a read of none is the end of the link. */
bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout) {
    (void)timeout;
    while (count) {
        const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)bytes, count};
        long left = mct_semihost(SYS_READ, arguments);
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
        long left = mct_semihost(SYS_WRITE, arguments);
        if (left < 0 || (uint32_t)left >= count)
            mct_finish(LINK_LOST);
        bytes += count - (uint32_t)left;
        count = (uint32_t)left;
    }
}

#else
typedef int mct_link_semihosting_unused; /* a translation unit may not be empty */
#endif
