// SPDX-License-Identifier: Apache-2.0

// Qt's QTcpServer, as its documentation uses it: newConnection and nextPendingConnection().

#include <QCoreApplication>
#include <QHostAddress>
#include <QSocketNotifier>
#include <QTcpServer>
#include <QTcpSocket>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <unistd.h>
#include <vector>

static std::int64_t nanoseconds(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

struct Drain {
    std::size_t wanted = 0;
    std::int64_t wall = 0;
    std::int64_t cpu = 0;
    std::uint64_t sum = 0;
    std::vector<QTcpSocket *> sockets;

    void take(QTcpSocket *socket) {
        const quint32 address = socket->peerAddress().toIPv4Address();
        sum += (address & 0xff) * UINT64_C(65536) + socket->peerPort();
        sockets.push_back(socket);
        if (sockets.size() == wanted) {
            std::printf("drained %zu %lld %lld %llu\n", wanted,
                        static_cast<long long>(nanoseconds(CLOCK_MONOTONIC) - wall),
                        static_cast<long long>(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu),
                        static_cast<unsigned long long>(sum));
            std::fflush(stdout);
        }
    }
};

static void greet(QTcpSocket *socket) {
    QObject::connect(socket, &QTcpSocket::disconnected, socket, &QObject::deleteLater);
    socket->write("hello, stranger\n");
    socket->disconnectFromHost();
}

static void echo(QTcpSocket *socket) {
    socket->setSocketOption(QAbstractSocket::LowDelayOption, 1);
    QObject::connect(socket, &QTcpSocket::readyRead, socket,
                     [socket] { socket->write(socket->readAll()); });
    QObject::connect(socket, &QTcpSocket::disconnected, socket, &QObject::deleteLater);
}

int main(int argc, char **argv) {
    QCoreApplication application(argc, argv);
    const std::string_view mode = argc > 1 ? argv[1] : "";
    Drain drain;
    drain.wanted = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 0;

    QTcpServer server;
    server.setListenBacklogSize(65535);
    server.setMaxPendingConnections(65535);
    QObject::connect(&server, &QTcpServer::newConnection, [&] {
        while (QTcpSocket *socket = server.nextPendingConnection()) {
            if (mode == "drain") {
                drain.take(socket);
            } else if (mode == "storm") {
                greet(socket);
            } else {
                echo(socket);
            }
        }
    });
    if (!server.listen(QHostAddress::LocalHost)) {
        return 1;
    }
    std::printf("port %d\n", server.serverPort());
    std::fflush(stdout);

    if (mode == "drain") {
        // Connections are accepted by the event loop, which does not run before this line came.
        for (int byte; (byte = std::getchar()) != EOF && byte != '\n';) {
        }
        drain.wall = nanoseconds(CLOCK_MONOTONIC);
        drain.cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    }
    QSocketNotifier input(STDIN_FILENO, QSocketNotifier::Read);
    QObject::connect(&input, &QSocketNotifier::activated, [&] {
        char bytes[64];
        if (read(STDIN_FILENO, bytes, sizeof bytes) <= 0) {
            application.quit();
        }
    });
    return application.exec();
}
