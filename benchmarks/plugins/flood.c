/*
 * bench.flood: write PARAM_mib MiB to descriptor PARAM_fd as fast as the kernel accepts them.
 * Records in the file PARAM_note bytes written, time of crossing PARAM_cap bytes and time of the
 * last write (monotonic ns). The file is mapped, so recording costs nothing and survives SIGKILL.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

int main(void)
{
    static char block[65536];
    uint64_t total = strtoull(getenv("PARAM_mib"), 0, 10) << 20, cap = strtoull(getenv("PARAM_cap"), 0, 10);
    int fd = atoi(getenv("PARAM_fd"));
    int file = open(getenv("PARAM_note"), O_RDWR);
    volatile uint64_t *note = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    if (note == MAP_FAILED)
        return 1;
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = i % 64 ? 'x' : '\n';
    while (note[0] < total) {
        ssize_t n = write(fd, block, sizeof block);
        if (n <= 0)
            return 2;
        note[0] += n;
        note[2] = now();
        if (note[0] > cap && !note[1])
            note[1] = note[2];
    }
    return 0;
}
