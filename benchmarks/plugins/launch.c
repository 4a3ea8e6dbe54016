/*
 * launch COUNT FILE PROGRAM: the baseline. Run PROGRAM COUNT times with FILE as standard input
 * and its output in a pipe, and nothing else. Not a plugin; the harness measures its CPU time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv, char **environ)
{
    char buffer[4096];
    char *args[] = {argv[argc - 1], 0};

    if (argc != 4)
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        posix_spawn_file_actions_t actions;
        int ends[2], status;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC))
            return 3;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, argv[2], O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        if (posix_spawn(&pid, args[0], &actions, 0, args, environ))
            return 4;
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        while (read(ends[0], buffer, sizeof buffer) > 0)
            ;
        close(ends[0]);
        if (waitpid(pid, &status, 0) != pid || status)
            return 5;
    }
    return 0;
}
