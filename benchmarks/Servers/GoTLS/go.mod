module tcpserverkit/benchmarks/go-tls

go 1.19
