#if !defined(MCT_FLASH_FILE) && !defined(MCT_FLASH_CFI) && !defined(MCT_FLASH_SEMIHOSTING)
#include "flash.h"

struct mct_flash mct_flash_start(void) {
    return (struct mct_flash){0, 0};
}

bool mct_flash_read(uint32_t address, uint8_t *to, uint32_t count) {
    (void)address, (void)to, (void)count;
    return false;
}

bool mct_flash_erase(uint32_t address) {
    (void)address;
    return false;
}

bool mct_flash_program(uint32_t address, const uint8_t *from) {
    (void)address, (void)from;
    return false;
}

#else
typedef int mct_flash_none_unused; /* a translation unit may not be empty */
#endif
