// SPDX-License-Identifier: MIT
/* The empty C program: what starting any program costs on this machine. A helper's start is
 * compared with it. */

int main(void) {
    return 0;
}
