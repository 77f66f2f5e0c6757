"""What benchmarks/run and benchmarks/report are made of. README.md in the folder above says what is measured and how."""
