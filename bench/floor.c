/* The floor: the kernel's cost of the same bytes to as many sockets. A sender as described in senders.py:

     floor CLIENTS BYTES    prints the loopback port that it listens on, accepts CLIENTS connections, prints "ready"
     stdin: ROUNDS PAUSE    sends BYTES bytes to each client, ROUNDS times, every PAUSE microseconds
     stdout: SENDS CPU      the number of sends, and the nanoseconds of CPU time that they took

   The bytes are one websocket frame, so that clients read them as they read the server's. Pauses do not count; the
   kernel's time within send() does, as for the measured server. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static long long nanoseconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int listen_on_loopback(int clients) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, clients)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    return listener;
}

static void take_connections(int *sockets, int clients) {
    int listener = listen_on_loopback(clients), on = 1;
    for (int i = 0; i < clients; i++) {
        if ((sockets[i] = accept(listener, NULL, NULL)) < 0) fail("accept");
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    close(listener);
    printf("ready\n");
}

/* One text frame of that many bytes, header included: RFC 6455, section 5.2, with a length of 16 bits. */
static char *text_frame(size_t bytes) {
    char *frame = malloc(bytes);
    memset(frame, 'x', bytes);
    frame[0] = (char)0x81;
    frame[1] = 126;
    frame[2] = (char)((bytes - 4) >> 8);
    frame[3] = (char)(bytes - 4);
    return frame;
}

static long long send_to_all(const int *sockets, int clients, const char *frame, size_t bytes) {
    long long start = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < clients; i++)
        if (send(sockets[i], frame, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)bytes) fail("send");
    return nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

static void sleep_until(long long time) {
    struct timespec at = {time / 1000000000LL, time % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int clients = atoi(arguments[1]), rounds, pause;
    size_t bytes = strtoul(arguments[2], NULL, 10);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setvbuf(stdout, NULL, _IOLBF, 0);

    int *sockets = calloc(clients, sizeof *sockets);
    char *frame = text_frame(bytes);
    take_connections(sockets, clients);
    while (scanf("%d %d", &rounds, &pause) == 2) {
        long long spent = 0, due = nanoseconds(CLOCK_MONOTONIC);
        for (int i = 0; i < rounds; i++) {
            sleep_until(due += pause * 1000LL);
            spent += send_to_all(sockets, clients, frame, bytes);
        }
        printf("%lld %lld\n", (long long)rounds * clients, spent);
    }
    return 0;
}
