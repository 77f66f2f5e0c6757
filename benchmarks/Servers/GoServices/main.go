// What benchmarks/services compares in Go: a relay, and net/http.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
)

// Without ReadFrom and WriteTo, by which io.Copy would splice(2).
type plainWriter struct{ io.Writer }
type plainReader struct{ io.Reader }

func pass(to, from *net.TCPConn, splices bool) {
	if splices {
		io.Copy(to, from)
	} else {
		io.CopyBuffer(plainWriter{to}, plainReader{from}, make([]byte, 65536))
	}
	to.CloseWrite()
}

func relay(listener net.Listener, upstream string, splices bool) {
	for {
		client, err := listener.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp4", upstream)
			if err != nil {
				return
			}
			defer server.Close()
			done := make(chan bool)
			go func() {
				pass(client.(*net.TCPConn), server.(*net.TCPConn), splices)
				close(done)
			}()
			pass(server.(*net.TCPConn), client.(*net.TCPConn), splices)
			<-done
		}()
	}
}

func hello(writer http.ResponseWriter, request *http.Request) {
	io.WriteString(writer, "hello\n")
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	switch os.Args[1] {
	case "relay":
		go relay(listener, "127.0.0.1:"+os.Args[2], true)
	case "relay-copying":
		go relay(listener, "127.0.0.1:"+os.Args[2], false)
	default:
		go http.Serve(listener, http.HandlerFunc(hello))
	}
	io.Copy(io.Discard, os.Stdin)
}
