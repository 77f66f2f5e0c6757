int fault_placeholder;
