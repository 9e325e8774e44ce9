/* The link over the 16550 UART, as a board has it: an interrupt through the PLIC fills a ring. */
#ifdef MCT_LINK_UART

#include "board.h"
#include "link.h"

enum {
    /* 16550 registers and bits */
    DATA = UART,
    INTERRUPT_ENABLE = UART + 1,
    FIFO_CONTROL = UART + 2,
    LINE_CONTROL = UART + 3,
    LINE_STATUS = UART + 5,
    RECEIVED_DATA = 1,      /* INTERRUPT_ENABLE, LINE_STATUS */
    FIFO_TRIGGER_14 = 0xc7, /* FIFOs on and cleared, interrupt at 14 bytes (or when the line falls silent) */
    EIGHT_BITS = 3,
    DIVISOR_ACCESS = 0x80, /* DATA and INTERRUPT_ENABLE become the rate divisor's halves */
    TRANSMITTER_EMPTY = 0x20,
    FIFO_SIZE = 16,
    /* PLIC: source 10, context 0 is hart 0 in machine mode */
    SOURCE = 10,
    PRIORITY = PLIC + 4 * SOURCE,
    ENABLE = PLIC + 0x2000,
    THRESHOLD = PLIC + 0x200000,
    CLAIM = PLIC + 0x200004,
};

/* Two frames of the longest body fit. Head and tail run freely; only the interrupt moves the head. */
#define RING (2u * MCT_MAXIMUM_BODY)
_Static_assert((RING & (RING - 1)) == 0, "MCT_MAXIMUM_BODY must be a power of two");
static uint8_t ring[RING];
static volatile uint32_t ring_head, ring_tail;

/* A full ring holds the UART back until the reader has made room. */
void mct_link_interrupt(void) {
    uint32_t source = REGISTER32(CLAIM);
    uint32_t head = ring_head;
    while (REGISTER8(LINE_STATUS) & RECEIVED_DATA) {
        if (head - ring_tail == RING) {
            REGISTER8(INTERRUPT_ENABLE) = 0;
            break;
        }
        ring[head++ & (RING - 1)] = REGISTER8(DATA);
    }
    ring_head = head;
    if (source)
        REGISTER32(CLAIM) = source;
}

void mct_link_start(void) {
    /* The fastest rate: QEMU sends at any, but its "line is silent" interrupt comes after four characters. */
    REGISTER8(LINE_CONTROL) = DIVISOR_ACCESS;
    REGISTER8(DATA) = 1;
    REGISTER8(INTERRUPT_ENABLE) = 0;
    REGISTER8(LINE_CONTROL) = EIGHT_BITS;
    REGISTER8(FIFO_CONTROL) = FIFO_TRIGGER_14;
    /* QEMU goes on receiving after its FIFO was full when one byte is read, not when it is cleared. */
    (void)REGISTER8(DATA);
    REGISTER8(INTERRUPT_ENABLE) = RECEIVED_DATA;
    REGISTER32(PRIORITY) = 1;
    REGISTER32(ENABLE) = 1u << SOURCE;
    REGISTER32(THRESHOLD) = 0;
    SET_CSR(mie, EXTERNAL_INTERRUPT);
    SET_CSR(mstatus, INTERRUPTS_ENABLED);
}

static uint64_t now(void) {
    uint32_t high, low;
    do {
        high = REGISTER32(CLINT_TIME + 4);
        low = REGISTER32(CLINT_TIME);
    } while (high != REGISTER32(CLINT_TIME + 4));
    return (uint64_t)high << 32 | low;
}

static void wake_at(uint64_t time) {
    REGISTER32(CLINT_COMPARE + 4) = 0xffffffffu;
    REGISTER32(CLINT_COMPARE) = (uint32_t)time;
    REGISTER32(CLINT_COMPARE + 4) = (uint32_t)(time >> 32);
}

/* Sleep until the ring is not empty; false when `timeout` milliseconds pass. Interrupts are off between the
 * test and wfi, which ends when one is pending, so none slips between. */
static bool wait_for_bytes(uint32_t timeout) {
    uint64_t deadline =
        timeout == MCT_FOREVER ? ~0ull : now() + (uint64_t)timeout * (mct_ticks_per_second / 1000);
    bool silent = false;
    for (;;) {
        disable_interrupts();
        if (ring_head != ring_tail || silent)
            break;
        wake_at(deadline);
        SET_CSR(mie, TIMER_INTERRUPT);
        wait_for_interrupt();
        CLEAR_CSR(mie, TIMER_INTERRUPT);
        silent = deadline != ~0ull && now() >= deadline;
        SET_CSR(mstatus, INTERRUPTS_ENABLED);
    }
    SET_CSR(mstatus, INTERRUPTS_ENABLED);
    return ring_head != ring_tail;
}

bool mct_link_read(uint8_t *bytes, uint32_t count, uint32_t timeout) {
    while (count) {
        if (ring_head == ring_tail && !wait_for_bytes(timeout))
            return false;
        uint32_t tail = ring_tail, head = ring_head;
        for (; count && tail != head; count--)
            *bytes++ = ring[tail++ & (RING - 1)];
        ring_tail = tail;
        REGISTER8(INTERRUPT_ENABLE) = RECEIVED_DATA;
    }
    return true;
}

void mct_link_write(const uint8_t *bytes, uint32_t count) {
    while (count) {
        while (!(REGISTER8(LINE_STATUS) & TRANSMITTER_EMPTY))
            ;
        uint32_t burst = count < FIFO_SIZE ? count : FIFO_SIZE;
        count -= burst;
        while (burst--)
            REGISTER8(DATA) = *bytes++;
    }
}

#else
#include "board.h"

void mct_link_interrupt(void) {}
#endif
