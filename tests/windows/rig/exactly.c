/* Runs the command line in the variable EXACTLY, as it is: Wine puts quotation marks of its own into one that comes from Linux. */
#include <windows.h>

int main(void)
{
    static wchar_t command[32768];
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION process;
    DWORD status = 1;

    if (!GetEnvironmentVariableW(L"EXACTLY", command, 32768)) return 9009;
    SetEnvironmentVariableW(L"EXACTLY", NULL);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) return 9009;
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &status);
    return (int)status;
}
