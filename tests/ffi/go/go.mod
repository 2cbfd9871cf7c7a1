module example.org/libqio/threads

go 1.19
