/* Load of the packet rows. One process a side, pinned to one CPU; TCP over IPv4.
 *
 *   traffic serve CPU PORT                  serves one connection after the other; prints "ready"
 *   traffic trips CPU ADDRESS PORT COUNT    round trips of one byte; prints seconds
 *   traffic connects CPU ADDRESS PORT COUNT connections made and reset; prints seconds
 *   traffic stream CPU ADDRESS PORT BYTES   prints CPU seconds of both sides
 *   traffic bulk CPU ADDRESS PORT BYTES     the same, and prints the seconds until the other end has all
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 18];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        fail("sched_setaffinity");
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int reach(const char *address, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    no_delay(fd);
    return fd;
}

/* The first byte says what follows: 't' echo every byte, 's' swallow all and answer with the CPU seconds that it took. */
static void converse(int fd)
{
    char first;
    no_delay(fd);
    if (read(fd, &first, 1) != 1)
        return;
    if (first == 't') {
        while (read(fd, block, 1) == 1)
            if (write(fd, block, 1) != 1)
                return;
    } else if (first == 's') {
        double before = cpu_seconds();
        while (read(fd, block, sizeof block) > 0)
            ;
        double took = cpu_seconds() - before;
        if (write(fd, &took, sizeof took) != sizeof took)
            return;
    }
}

static void serve(int port)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 512) < 0)
        fail("listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        converse(fd);
        close(fd);
    }
}

static double trips(const char *address, int port, long count)
{
    int fd = reach(address, port);
    if (write(fd, "t", 1) != 1)
        fail("write");
    double started = 0;
    for (long i = -200; i < count; i++) { /* the first ones only warm up */
        if (i == 0)
            started = now();
        if (write(fd, "x", 1) != 1 || read(fd, block, 1) != 1)
            fail("round trip");
    }
    double took = now() - started;
    close(fd);
    return took;
}

static double connects(const char *address, int port, long count)
{
    struct linger reset = {1, 0}; /* no TIME-WAIT is left behind */
    double started = 0;
    for (long i = -50; i < count; i++) {
        if (i == 0)
            started = now();
        int fd = reach(address, port);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    return now() - started;
}

static double stream(const char *address, int port, long bytes, int wall)
{
    int fd = reach(address, port);
    double started = now(), before = cpu_seconds(), theirs = 0;
    if (write(fd, "s", 1) != 1)
        fail("write");
    for (long left = bytes; left > 0;) {
        ssize_t sent = write(fd, block, left < (long)sizeof block ? (size_t)left : sizeof block);
        if (sent <= 0)
            fail("write");
        left -= sent;
    }
    shutdown(fd, SHUT_WR);
    if (recv(fd, &theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs)
        fail("read");
    double took = cpu_seconds() - before;
    close(fd);
    return wall ? now() - started : took + theirs;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    pin(atoi(argv[2]));
    if (!strcmp(argv[1], "serve"))
        serve(atoi(argv[3]));
    if (argc < 6)
        return 2;
    const char *address = argv[3];
    int port = atoi(argv[4]);
    long count = atol(argv[5]);
    if (!strcmp(argv[1], "trips"))
        printf("%.9f\n", trips(address, port, count));
    else if (!strcmp(argv[1], "connects"))
        printf("%.9f\n", connects(address, port, count));
    else
        printf("%.9f\n", stream(address, port, count, !strcmp(argv[1], "bulk")));
    return 0;
}
