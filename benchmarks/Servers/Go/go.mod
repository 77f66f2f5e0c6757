module tcpserverkit/benchmarks/go

go 1.19
