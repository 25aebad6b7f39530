module tuck.bench/program

go 1.21
