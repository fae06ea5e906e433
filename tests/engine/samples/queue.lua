-- A queue of jobs that run again after they have failed.
local Queue = {}
Queue.__index = Queue

local function by_time(a, b)
  return a.due < b.due
end

function Queue.new(clock)
  local self = setmetatable({ jobs = {}, failed = 0 }, Queue)
  self.clock = clock or function()
    return os.time()
  end
  return self
end

function Queue:push(run, delay)
  local job = { run = run, due = self.clock() + (delay or 0), tries = 0 }
  table.insert(self.jobs, job)
  table.sort(self.jobs, by_time)
  return function()
    for index, other in ipairs(self.jobs) do
      if other == job then
        table.remove(self.jobs, index)
        return true
      end
    end
    return false
  end
end

function Queue:step()
  local job = self.jobs[1]
  if not job or job.due > self.clock() then
    return nil
  end
  table.remove(self.jobs, 1)
  local ok, message = pcall(function()
    job.run(job.tries)
  end)
  if ok then
    return true
  elseif job.tries >= 3 then
    self.failed = self.failed + 1
    print("given up at the end: " .. tostring(message))
  else
    job.tries = job.tries + 1
    self:push(function(...)
      if job.tries > 1 then print("again, until it is done") end
      return job.run(...)
    end, 2 ^ job.tries)
  end
  return false
end

function Queue:drain(limit)
  local steps = 0
  repeat
    local found = self:step()
    steps = steps + 1
    while found == nil and #self.jobs > 0 do
      do
        local waiting = self.jobs[1].due - self.clock()
        if waiting <= 0 then break end
      end
      found = self:step()
    end
  until found == nil or steps >= (limit or math.huge)
  return steps
end

return Queue
