// SPDX-License-Identifier: Apache-2.0

// qt_server PEM MILLISECONDS: an echo server made of Qt's QSslServer, for comparison. It writes "port N", and ends with
// its standard input.

#include <QCoreApplication>
#include <QFile>
#include <QHostAddress>
#include <QSocketNotifier>
#include <QSslCertificate>
#include <QSslConfiguration>
#include <QSslKey>
#include <QSslServer>
#include <QSslSocket>
#include <cstdio>

int main(int count, char **words) {
    QCoreApplication application(count, words);
    QFile file(count == 3 ? QString::fromLocal8Bit(words[1]) : QString());
    if (!file.open(QIODevice::ReadOnly)) {
        return 2;
    }
    const QByteArray text = file.readAll();
    QSslConfiguration configuration = QSslConfiguration::defaultConfiguration();
    configuration.setLocalCertificateChain(QSslCertificate::fromData(text));
    configuration.setPrivateKey(QSslKey(text, QSsl::Ec));
    configuration.setPeerVerifyMode(QSslSocket::VerifyNone);
    QSslServer server;
    server.setSslConfiguration(configuration);
    server.setHandshakeTimeout(atoi(words[2]));
    QObject::connect(&server, &QSslServer::pendingConnectionAvailable, [&server] {
        while (QTcpSocket *socket = server.nextPendingConnection()) {
            QObject::connect(socket, &QTcpSocket::readyRead,
                             [socket] { socket->write(socket->readAll()); });
            QObject::connect(socket, &QTcpSocket::disconnected, socket, &QObject::deleteLater);
        }
    });
    if (!server.listen(QHostAddress::LocalHost)) {
        return 1;
    }
    printf("port %d\n", server.serverPort());
    fflush(stdout);
    QSocketNotifier end(0, QSocketNotifier::Read);
    QObject::connect(&end, &QSocketNotifier::activated, &application, &QCoreApplication::quit);
    return QCoreApplication::exec();
}
