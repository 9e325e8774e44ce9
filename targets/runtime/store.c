#include "store.h"

#include "crc32.h"
#include "flash.h"
#include "mct_model.h"
#include "protocol.h"
#include "store_directory.h"
#include "store_pages.h"

enum { MOST_BLOCKS = 8192, PAGE = MCT_FLASH_PAGE };

static struct mct_flash flash;
static struct mct_directory newest, staged, candidate;
static uint32_t slot;       /* where `newest` is; the other one is written next */
static uint32_t slot_bytes; /* whole blocks */
static bool is_open, is_erased, restored, purged;

/* The entry that is being written: position and page so far. */
static struct {
    struct mct_store_entry *entry;
    uint32_t done;
    uint8_t page[PAGE];
} writing;

static const char NO_FLASH[] = "the device has no flash", NOT_OPEN[] = "no transaction is open",
                  FLASH_FAILED[] = "the flash reports a failure";

static bool same_name(const char *a, const char *b) {
    for (uint32_t i = 0; i < MCT_STORE_NAME; i++) {
        if (a[i] != b[i])
            return false;
        if (!a[i])
            break;
    }
    return true;
}

static uint32_t blocks_of(uint32_t length) {
    return (length + flash.block - 1) / flash.block;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static bool inside(const struct mct_store_entry *entry) {
    return entry->address % flash.block == 0 && entry->address >= 2 * slot_bytes &&
           entry->address <= flash.size && entry->length <= flash.size - entry->address;
}

bool mct_store_is_whole(const struct mct_store_entry *entry) {
    uint8_t page[PAGE];
    uint32_t crc = 0;
    if (!inside(entry))
        return false;
    for (uint32_t at = 0; at < entry->length; at += PAGE) {
        uint32_t count = entry->length - at < PAGE ? entry->length - at : PAGE;
        if (!mct_flash_read(entry->address + at, page, count))
            return false;
        crc = mct_crc32(crc, page, count);
    }
    return crc == entry->crc;
}

/* Read a slot into `candidate`; whether it is complete. Where no slot is, `rescue` takes one without the
 * entries that are damaged. */
static bool read_slot(uint32_t number, bool rescue) {
    struct mct_directory_header *header = &candidate.header;
    if (!mct_directory_read(&candidate, number * slot_bytes))
        return false;
    for (uint32_t i = 0; i < header->entries;) {
        if (mct_store_is_whole(&candidate.entries[i]))
            i++;
        else if (rescue)
            candidate.entries[i] = candidate.entries[--header->entries];
        else
            return false;
    }
    return true;
}

const struct mct_store_entry *mct_store_entry(uint32_t index, bool in_staged) {
    const struct mct_directory *directory = in_staged && is_open ? &staged : &newest;
    return index < directory->header.entries ? &directory->entries[index] : 0;
}

const struct mct_store_entry *mct_store_find(const char *name, bool in_staged) {
    const struct mct_store_entry *entry;
    for (uint32_t i = 0; (entry = mct_store_entry(i, in_staged)); i++)
        if (same_name(entry->name, name))
            break;
    return entry;
}

const struct mct_store_entry *mct_store_find_kind(enum mct_store_kind kind, bool in_staged) {
    const struct mct_store_entry *entry;
    for (uint32_t i = 0; (entry = mct_store_entry(i, in_staged)); i++)
        if (entry->kind == (uint32_t)kind)
            break;
    return entry;
}

const char *mct_store_read(const struct mct_store_entry *entry, uint32_t offset, uint8_t *to,
                           uint32_t count) {
    if (offset > entry->length || count > entry->length - offset)
        return "the entry is shorter";
    return mct_flash_read(entry->address + offset, to, count) ? 0 : FLASH_FAILED;
}

/* ---- blocks ----------------------------------------------------------------------------------------- */

static uint8_t used[MOST_BLOCKS / 8]; /* one bit a block */

static bool is_used(uint32_t block) {
    return used[block / 8] >> block % 8 & 1;
}

static void mark(const struct mct_directory *directory) {
    for (uint32_t i = 0; i < directory->header.entries; i++) {
        uint32_t first = directory->entries[i].address / flash.block;
        for (uint32_t block = 0; block < blocks_of(directory->entries[i].length); block++)
            used[(first + block) / 8] |= (uint8_t)(1u << (first + block) % 8);
    }
}

/* Mark what the newest slot and an open transaction hold. */
static void mark_used(void) {
    for (uint32_t i = 0; i < sizeof used; i++)
        used[i] = 0;
    for (uint32_t block = 0; block < 2 * slot_bytes / flash.block; block++)
        used[block / 8] |= (uint8_t)(1u << block % 8);
    mark(&newest);
    if (is_open)
        mark(&staged);
}

/* Address of `count` free blocks in a row, or 0. */
static uint32_t find_free(uint32_t count) {
    uint32_t run = 0;
    mark_used();
    for (uint32_t block = 0; block < flash.size / flash.block; block++) {
        run = is_used(block) ? 0 : run + 1;
        if (run == count)
            return (block + 1 - count) * flash.block;
    }
    return 0;
}

/* Erase the other slot and every block that the newest one doesn't name, and note that it is done. */
static bool purge(void) {
    if (!mct_pages_erase((1 - slot) * slot_bytes, slot_bytes, flash.block))
        return false;
    mark_used();
    for (uint32_t block = 0; block < flash.size / flash.block; block++)
        if (!is_used(block) && !mct_pages_erase(block * flash.block, flash.block, flash.block))
            return false;
    purged = mct_directory_note_purged(slot * slot_bytes);
    return purged;
}

/* ---- transactions ----------------------------------------------------------------------------------- */

static void choose_slot(bool rescue) {
    for (uint32_t number = 0; number < 2; number++) {
        if (!read_slot(number, rescue))
            continue;
        if (newest.header.sequence && (int32_t)(candidate.header.sequence - newest.header.sequence) < 0)
            continue;
        newest = candidate;
        slot = number;
    }
}

void mct_store_start(void) {
    flash = mct_flash_start();
    if (flash.block < 4096 || flash.size / flash.block > MOST_BLOCKS || flash.size % flash.block) {
        flash.size = 0;
        return;
    }
    slot_bytes = blocks_of(mct_directory_bytes()) * flash.block;
    if (flash.size < 3 * slot_bytes) {
        flash.size = 0;
        return;
    }
    choose_slot(false);
    if (!newest.header.sequence)
        choose_slot(true);
    if (newest.header.flags & MCT_DIRECTORY_PURGE) {
        purged = mct_directory_is_purged(slot * slot_bytes);
        if (!purged)
            purge();
    }
    const struct mct_store_entry *state = mct_store_find("state", false);
    if (state && !(mct_store_facts().flags & MCT_STORE_FOREIGN))
        restored = !mct_store_restore(state);
}

struct mct_store_facts mct_store_facts(void) {
    struct mct_store_facts facts = {.size = flash.size, .block = flash.block};
    if (!flash.size)
        return facts;
    facts.sequence = newest.header.sequence;
    facts.entries = newest.header.entries;
    mark_used();
    for (uint32_t block = 0; block < flash.size / flash.block; block++)
        facts.free += !is_used(block);
    bool foreign = false;
    for (uint32_t i = 0; newest.header.sequence && i < 32; i++)
        foreign |= newest.header.build_id[i] != mct_build_id[i];
    facts.flags = (is_open ? MCT_STORE_OPEN : 0u) | (restored ? MCT_STORE_RESTORED : 0u) |
                  (foreign ? MCT_STORE_FOREIGN : 0u) | (purged ? MCT_STORE_PURGED : 0u) |
                  (mct_store_find_kind(MCT_STORE_KEY, false) ? MCT_STORE_KEYED : 0u);
    return facts;
}

const char *mct_store_begin(void) {
    if (!flash.size)
        return NO_FLASH;
    staged = newest;
    writing.entry = 0;
    is_open = true;
    is_erased = false;
    return 0;
}

static struct mct_store_entry *staged_entry(const char *name) {
    for (uint32_t i = 0; i < staged.header.entries; i++)
        if (same_name(staged.entries[i].name, name))
            return &staged.entries[i];
    return 0;
}

static uint32_t missing(void) {
    return writing.entry ? writing.entry->length - writing.done : 0;
}

static const char *ready(void) {
    if (!is_open)
        return NOT_OPEN;
    return missing() ? "an entry is not complete" : 0;
}

uint32_t mct_store_done(void) {
    return writing.done;
}

const char *mct_store_delete(const char *name) {
    const char *error = ready();
    if (error)
        return error;
    struct mct_store_entry *entry = staged_entry(name);
    if (!entry)
        return "there is no such entry";
    if (entry->kind == MCT_STORE_KEY || entry->kind == MCT_STORE_CHAIN)
        return "the entry is there for good";
    *entry = staged.entries[--staged.header.entries];
    writing.entry = 0;
    return 0;
}

/* A new place in the staged directory, or that of `name`; null when it is full. */
static struct mct_store_entry *place(const char *name) {
    struct mct_store_entry *entry = staged_entry(name);
    if (!entry && staged.header.entries < MCT_STORE_ENTRIES)
        entry = &staged.entries[staged.header.entries++];
    return entry;
}

const char *mct_store_create(const char *name, enum mct_store_kind kind, uint32_t length) {
    const char *error = ready();
    if (error)
        return error;
    const struct mct_store_entry *old = staged_entry(name);
    if (old && (old->kind == MCT_STORE_KEY || (old->kind == MCT_STORE_CHAIN) != (kind == MCT_STORE_CHAIN)))
        return "the entry is there for good";
    uint32_t address = 0;
    if (length)
        address = length > flash.size ? 0 : find_free(blocks_of(length));
    struct mct_store_entry *entry = length && !address ? 0 : place(name);
    if (!entry)
        return "the store is full";
    if (!length)
        address = 2 * slot_bytes;
    struct mct_store_entry made = {.kind = (uint32_t)kind, .address = address, .length = length};
    for (uint32_t i = 0; i < MCT_STORE_NAME - 1 && name[i]; i++)
        made.name[i] = name[i];
    *entry = made;
    writing.entry = entry;
    writing.done = 0;
    return 0;
}

const char *mct_store_append(const uint8_t *bytes, uint32_t count) {
    struct mct_store_entry *entry = writing.entry;
    if (!is_open || !entry)
        return NOT_OPEN;
    if (count > missing())
        return "the entry is shorter";
    /* from now on the older slot may name what is overwritten */
    if (!is_erased && !mct_pages_erase((1 - slot) * slot_bytes, slot_bytes, flash.block))
        return FLASH_FAILED;
    is_erased = true;
    purged = false;
    entry->crc = mct_crc32(entry->crc, bytes, count);
    while (count) {
        uint32_t at = entry->address + writing.done, filled = writing.done % PAGE;
        if (at % flash.block == 0 && !mct_pages_erase(at, flash.block, flash.block))
            return FLASH_FAILED;
        uint32_t some = PAGE - filled < count ? PAGE - filled : count;
        for (uint32_t i = 0; i < some; i++)
            writing.page[filled + i] = bytes[i];
        bytes += some;
        count -= some;
        writing.done += some;
        if (filled + some < PAGE && writing.done < entry->length)
            break;
        for (uint32_t i = filled + some; i < PAGE; i++)
            writing.page[i] = 0xff;
        if (!mct_pages_program(at - filled, writing.page))
            return FLASH_FAILED;
        mct_note_progress(writing.done, entry->length);
    }
    return 0;
}

const char *mct_store_link(const char *name, const char *other) {
    const char *error = ready();
    if (error)
        return error;
    const struct mct_store_entry *entry = staged_entry(name), *old = staged_entry(other);
    if (!entry)
        return "there is no such entry";
    if (entry->kind >= MCT_STORE_KEY || (old && old->kind >= MCT_STORE_KEY))
        return "the entry is there for good";
    struct mct_store_entry copy = *entry, *to = place(other);
    if (!to)
        return "the store is full";
    for (uint32_t i = 0; i < MCT_STORE_NAME; i++)
        copy.name[i] = 0;
    for (uint32_t i = 0; i < MCT_STORE_NAME - 1 && other[i]; i++)
        copy.name[i] = other[i];
    *to = copy;
    writing.entry = 0;
    return 0;
}

const char *mct_store_commit(bool with_purge) {
    const char *error = ready();
    if (error)
        return error;
    uint32_t other = 1 - slot;
    staged.header.sequence = newest.header.sequence + 1 ? newest.header.sequence + 1 : 1;
    staged.header.flags = with_purge ? MCT_DIRECTORY_PURGE : 0;
    if (!mct_pages_erase(other * slot_bytes, slot_bytes, flash.block) ||
        !mct_directory_write(&staged, other * slot_bytes))
        return FLASH_FAILED;
    newest = staged;
    slot = other;
    is_open = purged = false;
    writing.entry = 0;
    if (with_purge && !purge())
        return FLASH_FAILED;
    return 0;
}
