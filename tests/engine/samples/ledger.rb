# frozen_string_literal: true

require "date"

module Accounts
  class Overdrawn < StandardError; end

  Entry = Struct.new(:day, :amount, :note, keyword_init: true) do
    def debit? = amount.negative?

    def to_s
      format("%s %8.2f %s", day.strftime("%d %b"), amount, note)
    end
  end

  class Ledger
    include Enumerable

    attr_reader :name, :limit

    def initialize(name, limit: 0)
      @name = name
      @limit = limit
      @entries = []
    end

    def each(&block)
      return enum_for(:each) unless block

      @entries.sort_by(&:day).each(&block)
    end

    def add(amount, note = "", day: Date.today)
      if amount.zero?
        raise ArgumentError, "an entry of nothing"
      elsif balance + amount < -limit
        raise Overdrawn, "#{name} has only #{balance}" if amount.negative?
      end
      @entries << Entry.new(day: day, amount: amount, note: note)
      self
    end

    def balance(until_day = nil)
      total = 0
      each do |entry|
        next if until_day && entry.day > until_day

        total += entry.amount
      end
      total
    end

    def kind_of_entry(entry)
      case entry.amount
      when ...-1000 then :large_debit
      when ...0
        :debit
      when 0
        :nothing
      else
        :credit
      end
    end

    def by_month
      group_by { |entry| [entry.day.year, entry.day.month] }.transform_values do |entries|
        entries.sum(&:amount)
      end
    end

    def read(path)
      File.open(path) do |file|
        until file.eof?
          line = file.gets
          while line && line.end_with?("\\\n")
            line = line.chomp("\\\n") + file.gets.to_s
          end
          begin
            day, amount, note = line.split(";", 3)
            add(Float(amount), note.to_s.strip, day: Date.parse(day))
          rescue ArgumentError => e
            warn "#{path}: #{e.message}"
          ensure
            @lines = @lines.to_i + 1
          end
        end
      end
    end

    def report(out = $stdout)
      out.puts <<~HEAD
        if you read this at the end of the day,
        the balance of #{name} was #{balance}
      HEAD
      months = by_month.map do |(year, month), sum|
        label = if year == Date.today.year
          Date::ABBR_MONTHNAMES[month]
        else
          "#{Date::ABBR_MONTHNAMES[month]} #{year}"
        end
        "#{label}: #{sum}"
      end
      months.each { |line| out.puts line }
      out.puts "end" unless months.empty?
    end
  end
end
