/* The persistent store: named entries in flash that survive power loss at any moment.
 *
 * The first blocks of the flash are two slots for a directory, the rest holds the entries' bytes, whole
 * blocks each. A transaction writes new entries into free blocks and then the new directory into the other
 * slot, its header last: until that page is there, the older slot and all it names are as they were. At start
 * the newest slot whose checksums hold wins; where there is none, the newest with what is whole in it.
 *
 * Slot:  u32 magic, version, sequence number, number of entries, flags, CRC-32 of all else that follows and
 *        precedes; build id [32]; and from the next page on the entries.
 * Entry: name [24] padded with zeros; u32 kind, address, length, CRC-32 of the bytes.
 *
 * Functions that can fail return null, or a text that says what is wrong. */
#ifndef MCT_STORE_H
#define MCT_STORE_H

#include <stdbool.h>
#include <stdint.h>

enum { MCT_STORE_NAME = 24, MCT_STORE_ENTRIES = 96 };

enum mct_store_kind {
    MCT_STORE_BYTES = 0, /* from the host */
    MCT_STORE_STATE = 1, /* a copy of memory: u32 number of ranges, ranges, their bytes */
    MCT_STORE_HASH = 2,  /* SHA-256 of memory, computed here */
    MCT_STORE_KEY = 3,   /* never leaves the device, set once */
    MCT_STORE_CHAIN = 4, /* certificates, made here */
};

struct mct_store_entry {
    char name[MCT_STORE_NAME];
    uint32_t kind, address, length, crc;
};

struct mct_store_facts {
    uint32_t size, block; /* of the flash; 0 when there is none */
    uint32_t sequence;    /* of the newest slot; 0 when no slot is valid */
    uint32_t entries;     /* in it */
    uint32_t free;        /* blocks */
    uint32_t flags;       /* enum mct_store_flag */
};

enum mct_store_flag {
    MCT_STORE_OPEN = 1,     /* a transaction is open */
    MCT_STORE_RESTORED = 2, /* entry "state" was restored into memory at start */
    MCT_STORE_FOREIGN = 4,  /* the entries were written by another build */
    MCT_STORE_KEYED = 8,    /* a device key is set */
    MCT_STORE_PURGED = 16,  /* nothing is in the flash but what the newest slot names */
};

/* Find the newest valid slot, finish a purge that was cut off, restore entry "state". */
void mct_store_start(void);

struct mct_store_facts mct_store_facts(void);

/* Entry `index` of the newest slot or, with `staged`, of the open transaction; null when there is none. */
const struct mct_store_entry *mct_store_entry(uint32_t index, bool staged);
const struct mct_store_entry *mct_store_find(const char *name, bool staged);
const struct mct_store_entry *mct_store_find_kind(enum mct_store_kind kind, bool staged);

const char *mct_store_read(const struct mct_store_entry *entry, uint32_t offset, uint8_t *to, uint32_t count);

/* Whether its checksum holds. */
bool mct_store_is_whole(const struct mct_store_entry *entry);

/* Copy an entry of kind STATE back into memory. */
const char *mct_store_restore(const struct mct_store_entry *entry);

/* Open a transaction; one that is open is dropped. */
const char *mct_store_begin(void);

/* In a transaction: begin entry `name` of `length` bytes, in place of one of that name; then append them all.
 */
const char *mct_store_create(const char *name, enum mct_store_kind kind, uint32_t length);
const char *mct_store_append(const uint8_t *bytes, uint32_t count);
uint32_t mct_store_done(void); /* bytes of it that are there */

const char *mct_store_delete(const char *name);

/* A second name for the bytes of an entry. */
const char *mct_store_link(const char *name, const char *other);

/* Make the transaction the newest slot; with `purge` nothing that only older ones name is left in the flash.
 */
const char *mct_store_commit(bool purge);

#endif
