/* Traps of a hart that lacks PULP's instructions: an illegal instruction is emulated, the rest is the board's.
 *
 * mscratch points to where the hart's registers are saved; the stack of emulate.c grows down from there. */
    .option norvc

    FRAME = 128 /* bytes: x0 to x31 */
    STACK_SHIFT = 11 /* each hart has 2 KiB */

    .section .text.trap, "ax"

    /* From start.S, on each hart: a0 is its number and kept; t0 and t1 are not. */
    .globl mct_trap_start
mct_trap_start:
    la t0, trap_stacks
    addi t1, a0, 1
    slli t1, t1, STACK_SHIFT
    add t0, t0, t1
    addi t0, t0, -FRAME
    csrw mscratch, t0
    la t0, mct_trap_entry
    csrw mtvec, t0
    ret

    .balign 4
mct_trap_entry:
    csrrw sp, mscratch, sp
    sw x1, 4(sp)
    sw x5, 20(sp)
    csrr t0, mcause
    addi t0, t0, -2 /* illegal instruction */
    bnez t0, other
    .irp n, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    sw x\n, 4*\n(sp)
    .endr
    sw zero, 0(sp)
    csrr t0, mscratch
    sw t0, 8(sp)

    mv a0, sp
    csrr a1, mtval
    csrr a2, mepc
    csrr a3, mhartid
    call mct_emulate
    csrw mepc, a0

    .irp n, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    lw x\n, 4*\n(sp)
    .endr
    csrw mscratch, sp
    lw sp, 8(sp)
    mret

other:
    lw x1, 4(sp)
    lw x5, 20(sp)
    csrrw sp, mscratch, sp
    j mct_trap

    /* Print the text in a0, which ends with a zero byte, on the simulator's standard error. */
    .globl mct_trap_print
    .balign 16
mct_trap_print:
    mv a1, a0
    li a0, 4 /* SYS_WRITE0 */
    slli zero, zero, 0x1f
    ebreak
    srai zero, zero, 7
    ret

    .section .bss.trap, "aw", @nobits
    .balign 16
trap_stacks:
    .skip 9 << STACK_SHIFT
