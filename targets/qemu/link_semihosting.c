/* The link over semihosting: the host makes serial0, in the directory where the simulator runs, a link to a
 * pseudo-terminal. GVSoC's semihosting is the same. */
#ifdef MCT_LINK_SEMIHOSTING

#include "board.h"
#include "link.h"

enum { SYS_OPEN = 1, SYS_WRITE = 5, SYS_READ = 6, READ_WRITE = 2, LINK_LOST = 3 };

long mct_semihost(long operation, const void *arguments);

static long handle;

void mct_link_start(void)
{
    static const char name[] = "serial0";
    const uintptr_t arguments[] = {(uintptr_t)name, READ_WRITE, sizeof name - 1};
    handle = mct_semihost(SYS_OPEN, arguments);
    if (handle < 0)
        mct_finish(LINK_LOST);
}

/* Both calls return the number of bytes NOT transferred; a read of none is the end of the link. */
bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout)
{
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

void mct_link_write(const uint8_t *bytes, uint32_t count)
{
    while (count) {
        const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)bytes, count};
        long left = mct_semihost(SYS_WRITE, arguments);
        if (left < 0 || (uint32_t)left >= count)
            mct_finish(LINK_LOST);
        bytes += count - (uint32_t)left;
        count = (uint32_t)left;
    }
}

/* Nothing raises an interrupt while mstatus.MIE is 0. */
void mct_link_interrupt(void) {}

#else
typedef int mct_link_semihosting_unused; /* a translation unit may not be empty */
#endif
