#include "crc32.h"
#include "link.h"
#include "protocol.h"

int main(void) {
    mct_crc32_start();
    mct_board_start();
    mct_serve();
}
