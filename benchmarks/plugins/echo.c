/* bench.c: print the request, from standard input or, with webhook, from the argument. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char buffer[65536];
    ssize_t n;

    if (argc > 1)
        return write(1, argv[1], strlen(argv[1])) < 0;
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        if (write(1, buffer, n) != n)
            return 1;
    return n < 0;
}
