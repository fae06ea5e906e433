-- `:Mellum`, and what it can do.

local status = require('mellum_lsp.status')

local M = {}

local function clients()
  return vim.lsp.get_clients({ name = 'mellum' })
end

local function program()
  local command = vim.lsp.config.mellum.cmd
  return type(command) == 'table' and command[1] or 'mellum-lsp'
end

--- Show what a program prints, in a window of its own.
local function show(command)
  vim.system(command, { text = true }, function(done)
    vim.schedule(function()
      vim.cmd.new()
      vim.bo.buftype, vim.bo.bufhidden = 'nofile', 'wipe'
      vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split(done.stdout .. done.stderr, '\n'))
    end)
  end)
end

local commands = {}

--- Change a setting of the servers that run, and of those that start later.
local function set(values)
  vim.lsp.config('mellum', { settings = { mellum = values } })
  for _, client in ipairs(clients()) do
    client.settings = vim.tbl_deep_extend('force', client.settings or {}, { mellum = values })
    client:notify('workspace/didChangeConfiguration', { settings = client.settings })
  end
end

--- Switch suggestions off, which lets the model go, or on.
function commands.toggle()
  status.enabled = not status.enabled
  set({ enabled = status.enabled })
  vim.notify('Mellum: ' .. (status.enabled and 'on' or 'off'))
  vim.cmd.redrawstatus({ bang = true })
end

function commands.status()
  vim.notify('Mellum: ' .. status.message())
end

function commands.log()
  vim.cmd.tabnew(vim.lsp.log.get_filename())
end

--- Show the prompt at the cursor, as the file has it on the disk, and where each part of it comes from.
function commands.context()
  local row, column = unpack(vim.api.nvim_win_get_cursor(0))
  local characters = vim.fn.strchars(vim.api.nvim_get_current_line():sub(1, column))
  show({ program(), 'context', ('%s:%d:%d'):format(vim.api.nvim_buf_get_name(0), row, characters + 1) })
end

--- List the models, or go on with another one.
function commands.model(name)
  if not name then
    return show({ program(), 'models' })
  end
  set({ model = name })
end

--- Define `:Mellum`.
function M.define()
  vim.api.nvim_create_user_command('Mellum', function(call)
    local name, argument = unpack(call.fargs)
    local run = commands[name]
    if not run then
      return vim.notify('There is no :Mellum ' .. name, vim.log.levels.ERROR)
    end
    run(argument)
  end, {
    nargs = '+',
    desc = 'Suggestions: toggle, status, log, context, model [name]',
    complete = function(typed)
      return vim.tbl_filter(function(name)
        return vim.startswith(name, typed)
      end, vim.tbl_keys(commands))
    end,
  })
end

return M
