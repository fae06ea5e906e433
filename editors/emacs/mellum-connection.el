;;; mellum-connection.el --- The connection to mellum-lsp  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; One connection for all buffers: it starts the server, introduces Emacs to
;; it, knows how it is, and notices its end.  It knows nothing of the text of
;; buffers; who does gets on its hooks.

;;; Code:

(require 'eieio)
(require 'jsonrpc)
(require 'project)
(require 'subr-x)
(require 'url-util)
(require 'mellum-settings)

(defcustom mellum-server-command '("mellum-lsp" "serve")
  "The program and arguments that start the language server."
  :type '(repeat string)
  :group 'mellum)

(defvar mellum--connection nil "The connection to the server; nil without one.")
(defvar mellum--ready nil "Non-nil once the server has answered `initialize'.")
(defvar mellum--folders nil "Workspace folders that the server knows.")
(defvar mellum--status nil "What the server said last of itself, a property list.")
(defvar mellum--off nil "Non-nil after `mellum-toggle' has switched everything off.")
(defvar mellum--started 0 "When the server was started, as `float-time' has it.")
(defvar mellum--failures 0
  "How often the server has ended within a minute after its start, in a row.")
(defvar mellum--ready-hook nil "Run once the server is ready for documents.")
(defvar mellum--status-hook nil "Run after the server has said how it is.")
(defvar mellum--ended-hook nil "Run once the server is gone, however it went.")

;;; Settings

(defun mellum--json-value (type value)
  "Return VALUE, of a setting of this TYPE, as `jsonrpc' writes it."
  (pcase type
    ('boolean (or value :json-false))
    ('array (vconcat value))
    ('object (let ((table (make-hash-table :test #'equal)))
               (pcase-dolist (`(,key . ,one) value)
                 (puthash key one table))
               table))
    (_ value)))

(defun mellum--settings ()
  "Return the settings that have another value than the server's default."
  (let ((table (make-hash-table :test #'equal)))
    (pcase-dolist (`(,symbol ,key ,type ,default) mellum--settings)
      (let ((value (default-value symbol)))
        (unless (equal value default)
          (puthash (substring (symbol-name key) 1) (mellum--json-value type value) table))))
    table))

(defun mellum--configure ()
  "Give the settings to the server, if there is one."
  (mellum--notify :workspace/didChangeConfiguration
                  (list :settings (list :mellum (mellum--settings)))))

(add-hook 'mellum--settings-hook #'mellum--configure)


;;; The server's process

(defclass mellum--peer (jsonrpc-process-connection) ()
  "The connection to mellum-lsp.")

(defun mellum--uri (path)
  "Return the URI of the file PATH."
  (let ((file (expand-file-name path)))
    (concat "file://"
            (url-hexify-string
             (if (eq system-type 'windows-nt) (concat "/" file) file)
             url-path-allowed-chars))))

(defun mellum--project-root ()
  "Return the folder of this buffer's project; nil if it has none."
  (when-let ((project (and buffer-file-name (project-current nil default-directory))))
    (file-truename (project-root project))))

(defun mellum--folder (root)
  "Return the workspace folder at ROOT as the protocol wants it."
  (list :uri (mellum--uri (directory-file-name root))
        :name (file-name-nondirectory (directory-file-name root))))

(defun mellum--notify (method params)
  "Send the notification METHOD with PARAMS, if the server can take it."
  (when (and mellum--connection (jsonrpc-running-p mellum--connection))
    (ignore-errors                      ; it may end right now
      (jsonrpc-notify mellum--connection method params))))

(defun mellum--connect ()
  "Start the server where it is wanted, not there, and likely to stay up."
  (unless (or mellum--connection
              mellum--off
              (and (>= mellum--failures 3) (< (- (float-time) mellum--started) 60)))
    (let ((program (executable-find (car mellum-server-command))))
      (setq mellum--started (float-time))
      (if program
          (mellum--start (cons program (cdr mellum-server-command)))
        (setq mellum--failures 3        ; look again in a minute
              mellum--status
              (list :state "failed"
                    :message (format "There is no program %s: install it, or set `mellum-server-command'"
                                     (car mellum-server-command))))
        (message "Mellum: %s" (plist-get mellum--status :message))))))

(defun mellum--start (command)
  "Start the server by COMMAND, with this buffer's project as its first folder."
  (let ((root (mellum--project-root))
        (default-directory (expand-file-name "/")))
    (setq mellum--ready nil
          mellum--status nil
          mellum--folders (and root (list root))
          mellum--connection
          (apply
           #'make-instance 'mellum--peer
           :name "mellum"
           :notification-dispatcher #'mellum--notified
           :request-dispatcher #'mellum--requested
           :on-shutdown #'mellum--ended
           :process
           (lambda ()
             (make-process :name "mellum-lsp"
                           :command command
                           :connection-type 'pipe
                           :coding 'utf-8-emacs-unix
                           :noquery t
                           ;; `jsonrpc' wants this very name
                           :stderr (get-buffer-create "*mellum stderr*")))
           ;; each message would be written to a buffer, too, and laid out there
           (if (memq '-events-buffer-config
                     (mapcar #'eieio-slot-descriptor-name (eieio-class-slots 'jsonrpc-connection)))
               '(:events-buffer-config (:size 0))
             '(:events-buffer-scrollback-size 0))))
    (mellum--initialize root)))

(defun mellum--initialize (root)
  "Introduce Emacs to the server; ROOT is the first workspace folder, or nil."
  (jsonrpc-async-request
   mellum--connection :initialize
   (list :processId (emacs-pid)
         :clientInfo (list :name "Emacs" :version emacs-version)
         :rootUri (and root (mellum--uri (directory-file-name root)))
         :workspaceFolders (and root (vector (mellum--folder root)))
         :initializationOptions (mellum--settings)
         :capabilities
         '(:general (:positionEncodings ["utf-32" "utf-16"])
           :workspace (:workspaceFolders t)
           :textDocument (:inlineCompletion (:dynamicRegistration :json-false)
                          :synchronization (:didSave t))))
   :timeout 60
   :success-fn
   (lambda (_)
     (mellum--notify :initialized (make-hash-table))
     (setq mellum--ready t)
     (run-hooks 'mellum--ready-hook))
   :error-fn (lambda (problem) (message "Mellum: the server refused: %s" (plist-get problem :message)))
   :timeout-fn (lambda () (message "Mellum: the server does not answer.  Run: mellum-lsp doctor"))))

(defun mellum--ended (connection)
  "Take note that the server of CONNECTION has ended."
  (when (eq connection mellum--connection) ; else it was stopped on purpose
    (setq mellum--failures (if (< (- (float-time) mellum--started) 60) (1+ mellum--failures) 1))
    (let ((what (if (< mellum--failures 3)
                    "The server has ended; your next change starts it again"
                  "The server does not stay up.  Run: mellum-lsp doctor, then M-x mellum-restart")))
      (mellum--forget what)
      (message "Mellum: %s" what))))

(defun mellum--forget (what)
  "Forget the connection; WHAT becomes the status."
  (setq mellum--connection nil
        mellum--ready nil
        mellum--folders nil
        mellum--status (list :state "ended" :message what))
  (run-hooks 'mellum--ended-hook)
  (force-mode-line-update t))

(defun mellum--notified (_connection method params)
  "Take the notification METHOD with PARAMS from the server."
  (pcase method
    ('mellum/status
     (setq mellum--status params)
     (force-mode-line-update t)
     (run-hooks 'mellum--status-hook))
    ('window/showMessage (message "Mellum: %s" (plist-get params :message)))
    ('window/logMessage
     (with-current-buffer (get-buffer-create "*mellum log*")
       (goto-char (point-max))
       (insert (plist-get params :message) "\n")))))

(defun mellum--requested (_connection method _params)
  "Answer the request METHOD of the server."
  (if (eq method 'workspace/configuration)
      (vector (mellum--settings))
    (jsonrpc-error :code -32601 :message (format "Emacs does not know %s" method))))


;;; Commands

(defun mellum-restart ()
  "End the server and start it again."
  (interactive)
  (mellum-stop)
  (setq mellum--off nil
        mellum--failures 0)
  (mellum--connect))

(defun mellum-stop ()
  "End the server until the next change in a buffer with `mellum-mode'."
  (interactive)
  (when-let ((connection mellum--connection))
    (mellum--forget "The server was stopped")
    (let* ((process (jsonrpc--process connection))
           (kill (lambda (&rest _)
                   (when (process-live-p process)
                     (delete-process process)))))
      (run-at-time 10 nil kill)
      (jsonrpc-async-request connection :shutdown nil
                             :success-fn (lambda (_) (ignore-errors (jsonrpc-notify connection :exit nil)))
                             :error-fn kill
                             :timeout-fn kill))))

(defun mellum-status ()
  "Tell how the server is, in one sentence."
  (interactive)
  (message "Mellum: %s"
           (cond (mellum--off "switched off; M-x mellum-toggle switches it on")
                 ((plist-get mellum--status :message))
                 (mellum--connection "the server is being started")
                 (t "the server does not run"))))

(defun mellum-log ()
  "Show the log of the server."
  (interactive)
  (pop-to-buffer (get-buffer-create "*mellum log*")))

(provide 'mellum-connection)
;;; mellum-connection.el ends here
