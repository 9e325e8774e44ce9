/* Every hart begins here. Hart 0 clears .bss and enters main, which starts the workers; harts 1 to 8
 * sleep until then. A debugger that loads the program need only set the program counters to _start. */
    .section .text.start, "ax"
    .globl _start
_start:
    csrw mie, zero
    csrw mstatus, zero
    li t0, 0x6000 /* mstatus.FS: float instructions allowed */
    csrs mstatus, t0
    la t0, mct_trap
    csrw mtvec, t0
    csrr a0, mhartid
#ifdef MCT_TRAP_START
    call MCT_TRAP_START /* a variant of this board takes the traps, and leaves to mct_trap what is not its own */
#endif
    li t0, 8
    bgtu a0, t0, park
    /* stack of hart h ends at stacks_end - h * stack_size */
    lui t0, %hi(stack_size)
    addi t0, t0, %lo(stack_size)
    mul t0, t0, a0
    la sp, stacks_end
    sub sp, sp, t0
    bnez a0, worker

    la t0, bss_start
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  li a0, 0
    li a1, 0
    call main
    j park

    /* Wait until hart 0 has cleared .bss: its first software interrupt says so. */
worker:
    li t0, 8 /* MSIE */
    csrs mie, t0
1:  wfi
    csrr t1, mip
    and t1, t1, t0
    beqz t1, 1b
    call mct_worker

park:
    csrw mie, zero
1:  wfi
    j 1b

    /* An exception ends QEMU with 64 + its cause as exit status; interrupts go to the board. */
    .balign 4
    .globl mct_trap
mct_trap:
    addi sp, sp, -80
    sw ra, 0(sp)
    sw t0, 4(sp)
    csrr t0, mcause
    bgez t0, fatal
    sw t1, 8(sp)
    sw t2, 12(sp)
    sw t3, 16(sp)
    sw t4, 20(sp)
    sw t5, 24(sp)
    sw t6, 28(sp)
    sw a0, 32(sp)
    sw a1, 36(sp)
    sw a2, 40(sp)
    sw a3, 44(sp)
    sw a4, 48(sp)
    sw a5, 52(sp)
    sw a6, 56(sp)
    sw a7, 60(sp)
    call mct_interrupt
    lw ra, 0(sp)
    lw t0, 4(sp)
    lw t1, 8(sp)
    lw t2, 12(sp)
    lw t3, 16(sp)
    lw t4, 20(sp)
    lw t5, 24(sp)
    lw t6, 28(sp)
    lw a0, 32(sp)
    lw a1, 36(sp)
    lw a2, 40(sp)
    lw a3, 44(sp)
    lw a4, 48(sp)
    lw a5, 52(sp)
    lw a6, 56(sp)
    lw a7, 60(sp)
    addi sp, sp, 80
    mret
fatal:
    addi t0, t0, 64
    slli t0, t0, 16
    li t1, 0x3333
    or t0, t0, t1
    li t1, 0x100000
    sw t0, 0(t1)
    j park
