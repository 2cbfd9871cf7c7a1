# SPDX-License-Identifier: LGPL-2.1-or-later
#
# talk: the conversation of ../README.md from Ruby, with the ffi gem.
#
#   ruby talk.rb URI FILE [KEYS USER]
#
# The gem reads no header, so what is used is declared by hand.  Ruby keeps its lock during a call
# unless the declaration says `blocking: true`, which is for calls that may wait.

require 'ffi'

module Qio
  extend FFI::Library
  ffi_lib 'libqio.so.0'

  AGAIN = -2
  CALLBACK = -16
  IN = 1
  EV_WATCH = 1
  EV_RELEASED = 7
  FEATURE_FD_PASS = 0
  KIND_ANY = 0

  class ErrorStruct < FFI::Struct
    layout :struct_size, :uint32, :code, :int32, :sys_errno, :int32, :domain, :int32,
           :number, :int64, :bytes, :uint64, :message, [:char, 480]
  end

  class Iovec < FFI::Struct
    layout :base, :pointer, :len, :size_t
  end

  class Event < FFI::Struct
    layout :struct_size, :uint32, :kind, :uint32, :condition, :uint32, :status, :int32,
           :cookie, :uint64, :bytes, :uint64,
           :channel, :pointer, :watch, :pointer, :task, :pointer, :listener, :pointer
  end

  callback :transfer_op, %i[pointer pointer size_t uint32 pointer pointer], :int64
  callback :poll_op, %i[pointer uint32 pointer pointer pointer], :int32
  callback :release_op, %i[pointer], :void

  class Ops < FFI::Struct           # a member that stays NULL has a default
    layout :struct_size, :uint32, :flags, :uint32, :readv, :transfer_op, :writev, :transfer_op,
           :close, :pointer, :shutdown, :pointer, :seek, :pointer, :get_poll, :poll_op,
           :flush, :pointer, :release, :release_op
  end

  class Error < StandardError
    attr_reader :code

    def initialize(error)
      @code = error[:code]
      super("#{Qio.status_name(@code)}: #{error[:message].to_s.force_encoding('UTF-8')}")
    end
  end

  attach_function :status_name, :qioh_status_name, [:int32], :string
  attach_function :debug_live, :qioh_debug_live, [:uint32], :int64
  %i[options channel loop watch fdset].each do |noun|
    attach_function :"#{noun}_unref", :"qioh_#{noun}_unref", [:pointer], :void, blocking: true
  end

  # A function whose last argument is an error: it raises; nil stands for AGAIN.
  def self.declare(result, name, *arguments, **how)
    raw = :"raw_#{name}"
    attach_function raw, :"qioh_#{name}", [*arguments, :pointer], result, **how
    define_singleton_method(name) do |*values|
      error = ErrorStruct.new
      value = send(raw, *values, error)
      raise Error, error if error[:code].negative?

      value unless AGAIN.eql?(value)
    end
  end

  declare :pointer, :options_new
  declare :int32, :options_set_str, :pointer, :string, :string
  declare :pointer, :channel_open_uri, :string, :pointer, blocking: true
  declare :int32, :channel_write_all, :pointer, :buffer_in, :size_t, blocking: true
  declare :int64, :channel_writev, :pointer, :pointer, :size_t, :uint32, :pointer, blocking: true
  declare :int32, :channel_read_all, :pointer, :pointer, :size_t, blocking: true
  declare :int64, :channel_try_read, :pointer, :pointer, :size_t
  declare :int64, :channel_try_write, :pointer, :buffer_in, :size_t
  declare :int32, :channel_get_poll, :pointer, :uint32, :pointer, :pointer
  declare :pointer, :channel_new_custom, :pointer, Ops.by_ref, :pointer
  declare :int32, :channel_has_feature, :pointer, :uint32
  declare :int32, :channel_close, :pointer, blocking: true
  declare :pointer, :loop_new
  declare :int32, :loop_next_events, :pointer, :pointer, :uint32, :int32, blocking: true
  declare :pointer, :watch_new_queued, :pointer, :pointer, :uint32, :uint64
  declare :int32, :watch_remove, :pointer
  declare :pointer, :fdset_new
  declare :int32, :fdset_add, :pointer, :int32

  # Makes a handle, lends it to the block and gives it up, whatever happens.
  def self.with(noun, handle)
    yield handle
  ensure
    send(:"#{noun}_unref", handle)
  end
end

# A channel with a loop whose queue says when there is something to read.
class Connection
  PATIENCE_MS = 20_000
  COOKIE = 7

  attr_reader :channel

  def self.open(uri, keys = nil, user = nil)
    Qio.with(:options, Qio.options_new) do |options|
      if keys
        Qio.options_set_str(options, 'tls-psk-file', keys)
        Qio.options_set_str(options, 'tls-psk-user', user)
      end
      Qio.with(:channel, Qio.channel_open_uri(uri, options)) do |channel|
        Qio.with(:loop, Qio.loop_new) do |queue|
          Qio.with(:watch, Qio.watch_new_queued(queue, channel, Qio::IN, COOKIE)) do |watch|
            yield new(channel, queue, watch)
          end
        end
      end
    end
  end

  def initialize(channel, queue, watch)
    @channel = channel
    @queue = queue
    @watch = watch
    @events = FFI::MemoryPointer.new(Qio::Event, 8)
    Qio::Event.new(@events)[:struct_size] = Qio::Event.size
    @input = String.new
  end

  # Fetches events until one of the kind has come; nothing calls back.
  def wait_event(kind)
    loop do
      count = Qio.loop_next_events(@queue, @events, 8, PATIENCE_MS)
      raise IOError, 'the server says nothing' if count.zero?

      events = Array.new(count) { |i| Qio::Event.new(@events[i]) }
      return if events.any? { |event| event[:kind] == kind && event[:cookie] == COOKIE }
    end
  end

  def read_line
    chunk = FFI::MemoryPointer.new(4096)
    until @input.include?("\n")
      n = Qio.channel_try_read(@channel, chunk, chunk.size)
      raise EOFError, 'the server closed the connection' if n&.zero?

      n ? @input << chunk.read_bytes(n) : wait_event(Qio::EV_WATCH)
    end
    @input.slice!(/\A.*\n/).chomp
  end

  def send_line(text)
    Qio.channel_write_all(@channel, text, text.bytesize)
  end

  # The descriptor goes along with the first byte; the set has a copy of it.
  def send_file(text, file)
    data = FFI::MemoryPointer.from_string(text)
    iov = Qio::Iovec.new
    iov[:base] = data
    iov[:len] = text.bytesize
    Qio.with(:fdset, Qio.fdset_new) do |fds|
      Qio.fdset_add(fds, file.fileno)
      Qio.channel_writev(@channel, iov, 1, 0, fds)
    end
  end

  # A watch that goes says so once: then whatever its cookie stood for may go.
  def close
    Qio.watch_remove(@watch)
    wait_event(Qio::EV_RELEASED)
    Qio.channel_close(@channel)
  end
end

# What a channel of our own is made of: it turns the letters of what passes through it.
class Rot13
  @alive = {}           # user_data: what C calls until the release
  @released = 0
  class << self
    attr_reader :alive
    attr_accessor :released
  end

  def self.open(channel)
    rot13 = new(channel)
    alive[rot13.object_id] = rot13
    Qio.channel_new_custom(nil, rot13.ops, FFI::Pointer.new(rot13.object_id))
  end

  attr_reader :ops

  def initialize(channel)
    @channel = channel
    @ops = Qio::Ops.new
    @ops[:struct_size] = Qio::Ops.size
    @ops[:readv] = guarded { |_, iov, _, _, _, error| read(Qio::Iovec.new(iov), error) }
    @ops[:writev] = guarded { |_, iov, _, _, _, error| write(Qio::Iovec.new(iov), error) }
    @ops[:get_poll] = guarded { |_, *arguments| Qio.raw_channel_get_poll(@channel, *arguments) }
    @ops[:release] = proc { |user_data| release(user_data.address) }
  end

  private

  # No exception leaves a callback: it becomes the error of the call that needed it.
  def guarded
    proc do |*arguments|
      yield(*arguments)
    rescue StandardError => e
      place = arguments.last + Qio::ErrorStruct.offset_of(:message)
      place.put_string(0, e.message.byteslice(0, 479))
      Qio::CALLBACK
    end
  end

  def turn(text)
    text.tr('A-Za-z', 'N-ZA-Mn-za-m')
  end

  def read(iov, error)
    n = Qio.raw_channel_try_read(@channel, iov[:base], iov[:len], error)
    iov[:base].put_bytes(0, turn(iov[:base].read_bytes(n))) if n.positive?
    n                   # also AGAIN, or a failure that is in error
  end

  def write(iov, error)
    text = iov[:base].read_bytes(iov[:len])
    raise ArgumentError, 'only ASCII is turned' unless text.ascii_only?

    Qio.raw_channel_try_write(@channel, turn(text), text.bytesize, error)
  end

  # The last call: nobody refers to the callbacks any more.
  def release(user_data)
    Rot13.released += 1
    Rot13.alive.delete(user_data)
  end
end

def talk_in_rot13(channel)
  secret = "a secret of ruby\n"
  Qio.with(:channel, Rot13.open(channel)) do |turning|
    Qio.channel_write_all(turning, secret, secret.bytesize)
    answer = FFI::MemoryPointer.new(secret.bytesize)
    Qio.channel_read_all(turning, answer, answer.size)
    puts "rot13: #{answer.read_bytes(answer.size)}"
    begin
      Qio.channel_write_all(turning, "\xff", 1)
    rescue Qio::Error => e
      puts "refused: #{e.message}"
    end
  end
  puts "released: #{Rot13.released}"
end

def talk(uri, path, *credentials)
  channel = Connection.open(uri, *credentials) do |connection|
    connection.send_line("hello from ruby\n")
    puts "event: #{connection.read_line}"
    if Qio.channel_has_feature(connection.channel, Qio::FEATURE_FD_PASS) == 1
      File.open(path) { |file| connection.send_file("file\n", file) }
      puts "file: #{connection.read_line}"
    end
    talk_in_rot13(connection.channel)
    connection.close
    connection.channel
  end
  begin
    Qio.channel_write_all(channel, 'x', 1)
  rescue Qio::Error => e
    puts "stale: #{Qio.status_name(e.code)}"
  end
  puts "left: #{Qio.debug_live(Qio::KIND_ANY)}"
end

abort_with = lambda do |status, message|
  warn message
  exit status
end
abort_with.call(2, 'usage: talk.rb URI FILE [KEYS USER]') unless [2, 4].include?(ARGV.size)
begin
  talk(*ARGV)
rescue Qio::Error, SystemCallError, IOError => e
  abort_with.call(1, "talk.rb: #{e.message}")
end
