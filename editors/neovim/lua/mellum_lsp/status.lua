-- What the server says of itself, for the statusline and for `:Mellum status`; and starting it again when it has died.

local M = {}

local RESTARTS = 3 -- at most, in a minute

M.enabled = true -- false after `:Mellum toggle`
local status ---@type { state: string, message: string }?
local client_id ---@type integer? of the client that said so
local restarts = {} ---@type integer[] when it was started again, in milliseconds

--- Ask for a suggestion as after a key.
local function ask_again()
  if not vim.startswith(vim.api.nvim_get_mode().mode, 'i') then
    return
  end
  if vim.lsp.inline_completion then
    vim.api.nvim_exec_autocmds('CursorMovedI', { buffer = 0, modeline = false }) -- on which Neovim asks
  else
    require('mellum_lsp.inline').request()
  end
end

--- Take what the server has sent. Once it is ready, ask it again, where that was done too early.
---@param id integer
---@param sent { state: string, message: string }
function M.take(id, sent)
  local is_news = not status or client_id ~= id or status.state ~= sent.state
  client_id, status = id, sent
  vim.cmd.redrawstatus({ bang = true })
  if is_news and sent.state == 'ready' and vim.lsp.buf_is_attached(0, id) then
    ask_again()
  end
end

--- A server has ended: where that was not asked for, say so and start it again.
---@param id integer
---@param code integer exit code
---@param signal integer
function M.ended(id, code, signal)
  if code == 0 and (signal == 0 or signal == 15) then
    return
  end
  vim.schedule(function()
    if client_id ~= id or not M.enabled then
      return
    end
    local now = vim.uv.now()
    restarts = vim.tbl_filter(function(time)
      return now - time < 60000
    end, restarts)
    if #restarts >= RESTARTS then
      status = { state = 'ended', message = 'The server does not stay up. Run: mellum-lsp doctor' }
    else
      table.insert(restarts, now)
      status = { state = 'ended', message = 'The server has ended; it is started again.' }
      vim.lsp.enable('mellum')
    end
    vim.notify('Mellum: ' .. status.message, vim.log.levels.WARN)
    vim.cmd.redrawstatus({ bang = true })
  end)
end

--- One sentence: how the server is, and if something is wrong, how to mend it.
---@return string
function M.message()
  if not M.enabled then
    return 'Switched off; `:Mellum toggle` switches it on.'
  end
  return status and status.message or 'No server is running in this buffer.'
end

--- A few letters for the statusline: `%{v:lua.require'mellum_lsp'.statusline()}`.
---@return string
function M.statusline()
  local state = M.enabled and (status and status.state or '') or 'disabled'
  local shown = { ready = 'Mellum', loading = 'Mellum…', disabled = 'Mellum off', [''] = '' }
  return shown[state] or 'Mellum!'
end

return M
