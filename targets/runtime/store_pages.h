/* Flash, checked: what is erased is blank, what is programmed reads back. */
#ifndef MCT_STORE_PAGES_H
#define MCT_STORE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Whole blocks of `block` bytes; those that are blank already are left alone. */
bool mct_pages_erase(uint32_t address, uint32_t count, uint32_t block);

/* One page of MCT_FLASH_PAGE bytes. */
bool mct_pages_program(uint32_t address, const uint8_t *page);

#endif
