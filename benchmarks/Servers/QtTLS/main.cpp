// SPDX-License-Identifier: Apache-2.0

// QSslServer as its documentation uses it: qt-tls echo CERTIFICATE KEY

#include <QCoreApplication>
#include <QFile>
#include <QSocketNotifier>
#include <QSslCertificate>
#include <QSslConfiguration>
#include <QSslKey>
#include <QSslServer>
#include <QSslSocket>
#include <cstdio>
#include <unistd.h>

static QByteArray contents(const char *path) {
    QFile file(path);
    return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
}

static void echo(QTcpSocket *socket) {
    socket->setSocketOption(QAbstractSocket::LowDelayOption, 1);
    QObject::connect(socket, &QTcpSocket::readyRead, socket,
                     [socket] { socket->write(socket->readAll()); });
    QObject::connect(socket, &QTcpSocket::disconnected, socket, &QObject::deleteLater);
    // What came with the handshake was announced before.
    if (socket->bytesAvailable() > 0) {
        socket->write(socket->readAll());
    }
}

int main(int argc, char **argv) {
    QCoreApplication application(argc, argv);
    if (argc != 4) {
        std::fprintf(stderr, "usage: qt-tls echo CERTIFICATE KEY\n");
        return 64;
    }
    QByteArray pem = contents(argv[3]);
    QSslKey key(pem, QSsl::Ec);
    if (key.isNull()) {
        key = QSslKey(pem, QSsl::Rsa);
    }
    QSslConfiguration configuration = QSslConfiguration::defaultConfiguration();
    configuration.setLocalCertificate(QSslCertificate(contents(argv[2])));
    configuration.setPrivateKey(key);
    configuration.setPeerVerifyMode(QSslSocket::VerifyNone);

    QSslServer server;
    server.setSslConfiguration(configuration);
    server.setListenBacklogSize(65535);
    QObject::connect(&server, &QSslServer::pendingConnectionAvailable, [&] {
        while (QTcpSocket *socket = server.nextPendingConnection()) {
            echo(socket);
        }
    });
    if (!server.listen(QHostAddress::LocalHost)) {
        return 1;
    }
    std::printf("port %d\n", server.serverPort());
    std::fflush(stdout);
    QSocketNotifier input(STDIN_FILENO, QSocketNotifier::Read);
    QObject::connect(&input, &QSocketNotifier::activated, [&] {
        char bytes[64];
        if (read(STDIN_FILENO, bytes, sizeof bytes) <= 0) {
            application.quit();
        }
    });
    return application.exec();
}
