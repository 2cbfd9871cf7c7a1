#!/usr/bin/perl
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# talk: the conversation of ../README.md from Perl, with FFI::Platypus.
#
#   perl talk.pl URI FILE [KEYS USER]
#
# Platypus reads no header, so what is used is declared by hand: a handle is an opaque, NULL is
# undef, and structs are packed and unpacked where they lie.

use strict;
use warnings;

use FFI::Platypus 2.00;
use FFI::Platypus::Buffer qw(scalar_to_buffer buffer_to_scalar);
use FFI::Platypus::Memory qw(memcpy);

use constant { AGAIN => -2, CALLBACK => -16 };
use constant { IN => 1, EV_WATCH => 1, EV_RELEASED => 7, FEATURE_FD_PASS => 0 };
use constant { PATIENCE_MS => 20_000, COOKIE => 7, EVENTS => 8 };

# qioh_error: struct_size code sys_errno domain number bytes message; qioh_event: struct_size kind
# condition status cookie bytes channel watch task listener; qioh_iovec: base len;
# qioh_channel_ops: struct_size flags readv writev close shutdown seek get_poll flush release
use constant { ERROR => 'LlllqQZ480', EVENT => 'LLLlQQQQQQ', IOVEC => 'QQ', OPS => 'LLQ8' };
use constant { EVENT_SIZE => length(pack EVENT, (0) x 10), OPS_SIZE => length(pack OPS, (0) x 10) };
use constant MESSAGE_AT => 32;

my $ffi = FFI::Platypus->new(api => 2, lib => 'libqio.so.0');
my $status_name = $ffi->function(qioh_status_name => ['sint32'] => 'string');
my $debug_live  = $ffi->function(qioh_debug_live => ['uint32'] => 'sint64');

my %unref = map { $_ => $ffi->function("qioh_${_}_unref" => ['opaque'] => 'void') }
    qw(options channel loop watch fdset);

# A handle that is given up when its scope ends.
package Handle {
    sub new {
        my ($class, $noun, $token) = @_;
        return bless { noun => $noun, token => $token }, $class;
    }

    sub DESTROY {
        my ($self) = @_;
        $unref{ $self->{noun} }->call($self->{token});
        return;
    }
}

# Dies of this: the code beside the text.
package QioError {
    use overload '""' => sub { $_[0]{text} };

    sub new {
        my ($class, $error) = @_;
        my (undef, $code, undef, undef, undef, undef, $message) = unpack main::ERROR, $error;
        return bless { code => $code, text => $status_name->call($code) . ": $message\n" }, $class;
    }
}

my %function;

# A function whose last argument is an error.
sub declare {
    my ($result, $name, @arguments) = @_;
    $function{$name} = $ffi->function("qioh_$name" => [@arguments, 'opaque'] => $result);
    return;
}

# Calls it: what it gives, undef for AGAIN; dies of a failure.
sub call {
    my ($name, @values) = @_;
    my $error = "\0" x 512;
    my ($place) = scalar_to_buffer $error;
    my $value = $function{$name}->call((map { ref $_ eq 'Handle' ? $_->{token} : $_ } @values),
                                       $place);
    my (undef, $code) = unpack ERROR, $error;
    die QioError->new($error) if $code < 0;
    return if defined $value && $value == AGAIN;
    return $value;
}

declare('opaque', 'options_new');
declare('sint32', 'options_set_str', 'opaque', 'string', 'string');
declare('opaque', 'channel_open_uri', 'string', 'opaque');
declare('sint32', 'channel_write_all', 'opaque', 'string', 'size_t');
declare('sint64', 'channel_writev', 'opaque', 'opaque', 'size_t', 'uint32', 'opaque');
declare('sint32', 'channel_read_all', 'opaque', 'opaque', 'size_t');
declare('sint64', 'channel_try_read', 'opaque', 'opaque', 'size_t');
declare('sint64', 'channel_try_write', 'opaque', 'string', 'size_t');
declare('sint32', 'channel_get_poll', 'opaque', 'uint32', 'opaque', 'opaque');
declare('opaque', 'channel_new_custom', 'opaque', 'opaque', 'opaque');
declare('sint32', 'channel_has_feature', 'opaque', 'uint32');
declare('sint32', 'channel_close', 'opaque');
declare('opaque', 'loop_new');
declare('sint32', 'loop_next_events', 'opaque', 'opaque', 'uint32', 'sint32');
declare('opaque', 'watch_new_queued', 'opaque', 'opaque', 'uint32', 'uint64');
declare('sint32', 'watch_remove', 'opaque');
declare('opaque', 'fdset_new');
declare('sint32', 'fdset_add', 'opaque', 'sint32');

# A channel with a loop whose queue says when there is something to read.
package Connection {
    sub new {
        my ($class, $uri, $keys, $user) = @_;
        my $options = Handle->new(options => main::call('options_new'));
        if (defined $keys) {
            main::call('options_set_str', $options, 'tls-psk-file', $keys);
            main::call('options_set_str', $options, 'tls-psk-user', $user);
        }
        my $self = bless { input => '' }, $class;
        $self->{channel} = Handle->new(channel => main::call('channel_open_uri', $uri, $options));
        $self->{loop} = Handle->new(loop => main::call('loop_new'));
        $self->{watch} = Handle->new(watch => main::call(
            'watch_new_queued', @$self{qw(loop channel)}, main::IN, main::COOKIE));
        return $self;
    }

    # Fetches events until one of the kind has come; nothing calls back.
    sub wait_event {
        my ($self, $wanted) = @_;
        my $size = main::EVENT_SIZE;
        my $events = pack 'L x' . ($size * main::EVENTS - 4), $size;    # the first has the stride
        my ($place) = main::scalar_to_buffer $events;
        while (1) {
            my $count = main::call('loop_next_events', $self->{loop}, $place, main::EVENTS,
                                   main::PATIENCE_MS)
                or die "the server says nothing\n";
            for my $i (0 .. $count - 1) {
                my (undef, $kind, undef, undef, $cookie) =
                    unpack main::EVENT, substr $events, $i * $size, $size;
                return if $kind == $wanted && $cookie == main::COOKIE;
            }
        }
    }

    sub read_line {
        my ($self) = @_;
        while ($self->{input} !~ /\n/) {
            my $chunk = "\0" x 4096;
            my ($place, $size) = main::scalar_to_buffer $chunk;
            my $n = main::call('channel_try_read', $self->{channel}, $place, $size);
            if (!defined $n) { $self->wait_event(main::EV_WATCH) }
            elsif ($n == 0) { die "the server closed the connection\n" }
            else { $self->{input} .= substr $chunk, 0, $n }
        }
        $self->{input} =~ s/\A(.*)\n//;
        return $1;
    }

    sub send {
        my ($self, $text) = @_;
        main::call('channel_write_all', $self->{channel}, $text, length $text);
        return;
    }

    # The descriptor goes along with the first byte; the set has a copy of it.
    sub send_file {
        my ($self, $text, $file) = @_;
        my $fds = Handle->new(fdset => main::call('fdset_new'));
        main::call('fdset_add', $fds, fileno $file);
        my $iov = pack main::IOVEC, main::scalar_to_buffer $text;
        my ($place) = main::scalar_to_buffer $iov;
        main::call('channel_writev', $self->{channel}, $place, 1, 0, $fds);
        return;
    }

    # A watch that goes says so once: then whatever its cookie stood for may go.
    sub close {
        my ($self) = @_;
        main::call('watch_remove', $self->{watch});
        $self->wait_event(main::EV_RELEASED);
        main::call('channel_close', $self->{channel});
        return;
    }
}

# What a channel of our own is made of: it turns the letters of what passes through it.
package Rot13 {
    my $transfer = '(opaque, opaque, size_t, uint32, opaque, opaque)->sint64';
    my $poll     = '(opaque, uint32, opaque, opaque, opaque)->sint32';
    my $release  = '(opaque)->void';
    our $released = 0;

    # It has to live until the release, and beyond: a closure may not be freed inside its call.
    sub new {
        my ($class, $channel) = @_;
        my $token = $channel->{token};
        return bless {
            readv    => $ffi->closure(sub { guarded($_[5], sub { readv($token, @_) }, @_) }),
            writev   => $ffi->closure(sub { guarded($_[5], sub { writev($token, @_) }, @_) }),
            get_poll => $ffi->closure(
                sub { $function{channel_get_poll}->call($token, @_[1 .. 4]) }),
            release  => $ffi->closure(sub { $released++; return }),
        }, $class;
    }

    sub ops {
        my ($self) = @_;
        my ($readv, $writev) = map { $ffi->cast($transfer => 'opaque', $self->{$_}) }
            qw(readv writev);
        my $get_poll = $ffi->cast($poll => 'opaque', $self->{get_poll});
        my $at_end = $ffi->cast($release => 'opaque', $self->{release});
        return pack main::OPS, main::OPS_SIZE, 0, $readv, $writev, 0, 0, 0, $get_poll, 0, $at_end;
    }

    # Nothing dies through a callback: it becomes the error of the call that needed it.
    sub guarded {
        my ($error, $op, @arguments) = @_;
        my $result = eval { $op->(@arguments) };
        return $result if defined $result;
        my $message = substr($@, 0, 478) =~ s/\n\z//r . "\0";
        my ($place, $size) = main::scalar_to_buffer $message;
        main::memcpy($error + main::MESSAGE_AT, $place, $size);
        return main::CALLBACK;
    }

    sub turn { return $_[0] =~ tr/A-Za-z/N-ZA-Mn-za-m/r }

    sub block { return unpack main::IOVEC, main::buffer_to_scalar $_[0], 16 }

    sub readv {
        my ($token, undef, $iov, undef, undef, undef, $error) = @_;
        my ($base, $len) = block($iov);
        my $n = $function{channel_try_read}->call($token, $base, $len, $error);
        if ($n > 0) {
            my $text = turn(main::buffer_to_scalar $base, $n);
            my ($place) = main::scalar_to_buffer $text;
            main::memcpy($base, $place, $n);
        }
        return $n;      # also AGAIN, or a failure that is in the error
    }

    sub writev {
        my ($token, undef, $iov, undef, undef, undef, $error) = @_;
        my ($base, $len) = block($iov);
        my $text = main::buffer_to_scalar $base, $len;
        die "only ASCII is turned\n" if $text =~ /[^\x00-\x7f]/;
        return $function{channel_try_write}->call($token, turn($text), length $text, $error);
    }
}

sub talk_in_rot13 {
    my ($channel) = @_;
    my $rot13 = Rot13->new($channel);
    {
        my $ops = $rot13->ops;
        my ($ops_place) = scalar_to_buffer $ops;        # the library copies them
        my $turning = Handle->new(channel => call('channel_new_custom', undef, $ops_place, undef));
        my $secret = "a secret of perl\n";
        call('channel_write_all', $turning, $secret, length $secret);
        my $answer = "\0" x length $secret;
        my ($place, $size) = scalar_to_buffer $answer;
        call('channel_read_all', $turning, $place, $size);
        print "rot13: $answer";
        eval { call('channel_write_all', $turning, "\xff", 1); 1 } or print "refused: $@";
    }
    print "released: $Rot13::released\n";
    return;
}

sub converse {
    my ($connection, $path) = @_;
    $connection->send("hello from perl\n");
    print 'event: ', $connection->read_line, "\n";
    if (call('channel_has_feature', $connection->{channel}, FEATURE_FD_PASS)) {
        open my $file, '<', $path or die "$path: $!\n";
        $connection->send_file("file\n", $file);
        close $file;
        print 'file: ', $connection->read_line, "\n";
    }
    talk_in_rot13($connection->{channel});
    $connection->close;
    return $connection->{channel}{token};
}

sub talk {
    my ($uri, $path, @credentials) = @_;
    my $stale = converse(Connection->new($uri, @credentials), $path);
    eval { call('channel_write_all', $stale, 'x', 1); 1 }
        or print 'stale: ', $status_name->call($@->{code}), "\n";
    print 'left: ', $debug_live->call(0), "\n";
    return 1;
}

if (@ARGV != 2 && @ARGV != 4) {
    print STDERR "usage: talk.pl URI FILE [KEYS USER]\n";
    exit 2;
}
eval { talk(@ARGV) } or do {
    print STDERR "talk.pl: $@";
    exit 1;
};
