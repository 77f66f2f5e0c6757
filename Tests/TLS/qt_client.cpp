// SPDX-License-Identifier: Apache-2.0

// qt_client PORT AUTHORITY NAME BYTES: Qt's QSslSocket sends so many bytes in messages of odd sizes, and has to get
// them back. It ends with 0 where it does.

#include <QCoreApplication>
#include <QFile>
#include <QSslCertificate>
#include <QSslCipher>
#include <QSslConfiguration>
#include <QSslSocket>
#include <cstdio>

int main(int count, char **words) {
    enum { SECONDS = 1000, WAIT = 20 * SECONDS };
    QCoreApplication application(count, words);
    if (count != 5) {
        return 2;
    }
    QSslConfiguration configuration = QSslConfiguration::defaultConfiguration();
    configuration.setCaCertificates(QSslCertificate::fromPath(QString::fromLocal8Bit(words[2])));
    configuration.setAllowedNextProtocols({"http/1.1"});
    QSslSocket socket;
    socket.setSslConfiguration(configuration);
    socket.setPeerVerifyName(QString::fromLatin1(words[3]));
    socket.connectToHostEncrypted("127.0.0.1", static_cast<quint16>(atoi(words[1])),
                                  QString::fromLatin1(words[3]));
    if (!socket.waitForEncrypted(WAIT)) {
        fprintf(stderr, "%s\n", qPrintable(socket.errorString()));
        return 1;
    }
    QByteArray sent, received;
    const int size = atoi(words[4]);
    for (int next = 1; sent.size() < size; next = next * 3 % 40009 + 1) {
        QByteArray message(qMin(next, size - int(sent.size())), char('a' + next % 26));
        socket.write(message);
        sent += message;
    }
    while (received.size() < sent.size() && socket.waitForReadyRead(WAIT)) {
        received += socket.readAll();
    }
    printf("%s, %s, %s\n", qPrintable(QString::number(int(socket.sessionProtocol()))),
           qPrintable(socket.sessionCipher().name()),
           socket.sslConfiguration().nextNegotiatedProtocol().constData());
    socket.disconnectFromHost();
    const bool has_ended =
        socket.state() == QAbstractSocket::UnconnectedState || socket.waitForDisconnected(WAIT);
    return received == sent && has_ended ? 0 : 1;
}
