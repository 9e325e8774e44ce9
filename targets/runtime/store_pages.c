#include "store_pages.h"

#include "flash.h"
#include "protocol.h"
#include "work.h"

enum { PAGE = MCT_FLASH_PAGE, WORDS = PAGE / 4 };

static bool is_blank(uint32_t address, uint32_t count) {
    uint32_t page[WORDS];
    for (uint32_t at = 0; at < count; at += PAGE) {
        if (!mct_flash_read(address + at, (uint8_t *)page, PAGE))
            return false;
        uint32_t all = 0xffffffffu;
        for (uint32_t i = 0; i < WORDS; i++)
            all &= page[i];
        if (all != 0xffffffffu)
            return false;
    }
    return true;
}

bool mct_pages_erase(uint32_t address, uint32_t count, uint32_t block) {
    for (uint32_t at = 0; at < count; at += block) {
        mct_note_progress(at, count);
        uint32_t began = mct_work_clock();
        bool blank = is_blank(address + at, block);
        if (!blank && (!mct_flash_erase(address + at) || !is_blank(address + at, block)))
            return false;
        mct_work_add(blank ? MCT_WORK_BLANK : MCT_WORK_ERASED, began);
    }
    return true;
}

bool mct_pages_program(uint32_t address, const uint8_t *page) {
    uint8_t got[PAGE];
    uint32_t began = mct_work_clock();
    if (!mct_flash_program(address, page) || !mct_flash_read(address, got, PAGE))
        return false;
    for (uint32_t i = 0; i < PAGE; i++)
        if (got[i] != page[i])
            return false;
    mct_work_add(MCT_WORK_WRITTEN, began);
    return true;
}
