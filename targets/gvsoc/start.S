/* The controller begins at _start: it clears .bss and enters main, which starts the cluster. Cluster cores
 * begin at mct_cluster_start. */
    .section .text.start, "ax"
    .option norvc

    /* The vector table: exceptions are vector 0, and no interrupt is ever enabled. */
    .balign 256
vectors:
    j fatal
    .fill 31, 4, 0 /* an illegal instruction */

    .globl _start
_start:
    la t0, vectors
    csrw mtvec, t0
    la sp, controller_stack_end
    la t0, bss_start
    la t1, bss_end
    /* .bss begins and ends at 16-byte boundaries */
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    sw zero, 4(t0)
    sw zero, 8(t0)
    sw zero, 12(t0)
    addi t0, t0, 16
    j 1b
2:  li a0, 0
    li a1, 0
    call main
    j park

    .globl mct_cluster_start
mct_cluster_start:
    la t0, vectors
    csrw mtvec, t0
    csrr a0, mhartid
    andi a0, a0, 31
    /* stack of core i ends at stacks_end - i * stack_size */
    lui t0, %hi(stack_size)
    addi t0, t0, %lo(stack_size)
    mul t0, t0, a0
    la sp, stacks_end
    sub sp, sp, t0
    call mct_worker

park:
    wfi
    j park

    /* An exception ends the simulator with 64 + its cause as exit status, but for an instruction that is
     * tried whether it is legal. */
fatal:
    la t0, mct_skips_illegal
    lw t0, 0(t0)
    beqz t0, 1f
    csrr t0, mepc
    addi t0, t0, 4
    csrw mepc, t0
    mret
1:  csrr t0, mcause
    andi t0, t0, 31
    addi t0, t0, 64
    lui t1, 0x80000
    or t0, t0, t1
    li t1, 0x1a1040a0
    sw t0, 0(t1)
    j park
