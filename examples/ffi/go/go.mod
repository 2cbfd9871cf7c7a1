module example.org/libqio/talk

go 1.19
